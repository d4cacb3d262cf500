"""`/v1/sellers/me`: what a seller is told of itself."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx

from domain.identity.model import Role, User
from domain.sellers.model import OnboardingStatus
from domain.work import Work
from tests.api.operations import assert_problem
from tests.builders import NOW, Shop, a_seller_account, unique

TokenOf = Callable[[User | Role], dict[str, str]]


async def test_seller_asks_for_an_account_and_is_told_where_it_stands(
    api: httpx.AsyncClient, shop: Shop, token_of: TokenOf
) -> None:
    caller = token_of(shop.seller)
    before = (await api.get("/v1/sellers/me", headers=caller)).json()
    assert before == {
        "id": str(shop.seller.id),
        "onboarding_status": "not_started",
        "link": None,
        "link_expires_at": None,
        "failure_code": None,
        "payouts_enabled": False,
        "commission_bps": 250,
    }

    answers = [await api.post("/v1/sellers/me/onboarding", headers=caller) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].headers["Location"] == "/v1/sellers/me"
    assert answers[0].json() == answers[1].json() == {**before, "onboarding_status": "pending"}
    assert (await api.get("/v1/sellers/me", headers=caller)).json() == answers[0].json()


async def test_link_is_shown_while_it_is_good(api: httpx.AsyncClient, shop: Shop, token_of: TokenOf) -> None:
    account = a_seller_account(shop.seller.id)
    async with shop.begin() as tx:
        await tx.seller_accounts.add(account, publish_at=NOW)
        await tx.commit()
    for expires_at in (datetime.now(UTC) + timedelta(seconds=300), datetime.now(UTC)):
        async with shop.begin() as tx:
            opened = replace(
                account,
                status=OnboardingStatus.OPEN,
                stripe_account_id=f"acct_{account.seller_id}",
                link=unique("https://stripe.test/"),
                link_expires_at=expires_at,
            )
            await tx.seller_accounts.save(opened, due_at=None)
            await tx.commit()

        shown = (await api.get("/v1/sellers/me", headers=token_of(shop.seller))).json()

        good = expires_at > datetime.now(UTC)
        assert shown["onboarding_status"] == "open"
        assert shown["link"] == (opened.link if good else None)
        assert (shown["link_expires_at"] is not None) is good


async def test_wish_is_work_for_the_workers(api: httpx.AsyncClient, shop: Shop, token_of: TokenOf) -> None:
    await api.post("/v1/sellers/me/onboarding", headers=token_of(shop.seller))

    async with shop.begin() as tx:
        due = await tx.due_work.claim(
            Work.ONBOARDINGS, datetime.now(UTC) + timedelta(days=1), republish_after_s=30, limit=1000
        )
    assert shop.seller.id in due


async def test_seller_who_is_not_there_is_not_found(api: httpx.AsyncClient, token_of: TokenOf) -> None:
    assert_problem(await api.get("/v1/sellers/me", headers=token_of(Role.SELLER)), 404, "seller_not_found")
