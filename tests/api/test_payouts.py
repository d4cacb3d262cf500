"""Payouts and balances as sellers see them."""

from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import httpx
import pytest

from api.payouts import SellerBalanceAnswer
from domain.identity.model import Role, User
from domain.payouts.model import SellerBalance
from domain.sellers.model import OnboardingStatus
from tests.api.operations import assert_problem
from tests.builders import NOW, Shop, a_requested_refund, a_seller_account, unique
from tests.captured import captured
from tests.paid_out import SHARE, complete, earned, paid_out, refund

TokenOf = Callable[[User | Role], dict[str, str]]


@pytest.fixture
def seller(shop: Shop, token_of: TokenOf) -> dict[str, str]:
    return token_of(shop.seller)


@pytest.fixture
async def enabled(shop: Shop) -> None:
    """The seller is known to Stripe."""
    account = a_seller_account(shop.seller.id)
    known = replace(
        account, status=OnboardingStatus.COMPLETE, stripe_account_id=unique("acct"), payouts_enabled=True
    )
    async with shop.begin() as tx:
        assert await tx.seller_accounts.add(account, publish_at=NOW)
        await tx.seller_accounts.lock(account.seller_id)
        await tx.seller_accounts.save(known, due_at=None)
        await tx.commit()


def with_key(header: dict[str, str], key: str = "") -> dict[str, str]:
    return {**header, "Idempotency-Key": key or uuid4().hex}


@pytest.mark.usefixtures("enabled")
async def test_held_money_is_pending_and_not_paid_out(
    api: httpx.AsyncClient, shop: Shop, seller: dict[str, str]
) -> None:
    await earned(shop)

    refused = await api.post("/v1/payouts", json={"currency": "USD"}, headers=with_key(seller))

    problem = assert_problem(refused, 409, "nothing_to_pay_out")
    assert problem["available_minor"] == 0
    (balance,) = (await api.get("/v1/sellers/me/balance", headers=seller)).json()["data"]
    assert balance == {
        "currency": "USD",
        "balance_minor": SHARE,
        "pending_minor": SHARE,
        "available_minor": 0,
        "negative_minor": 0,
        "in_payout_minor": 0,
        "in_dispute_minor": 0,
    }


@pytest.mark.usefixtures("enabled")
async def test_payout_is_accepted_shown_and_replayed(
    api: httpx.AsyncClient, shop: Shop, seller: dict[str, str]
) -> None:
    order = await shop.order()
    await captured(shop, order, fee_minor=88)
    await complete(shop, order)
    header = with_key(seller)

    made = await api.post("/v1/payouts", json={"currency": "USD"}, headers=header)
    again = await api.post("/v1/payouts", json={"currency": "USD"}, headers=header)
    other = await api.post("/v1/payouts", json={"currency": "EUR"}, headers=header)

    payout = made.json()
    assert (made.status_code, made.headers["Location"]) == (202, f"/v1/payouts/{payout['id']}")
    assert (payout["status"], payout["amount_minor"], payout["origin"]) == ("pending", SHARE, "requested")
    assert (again.status_code, again.json()) == (202, payout)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert_problem(other, 422, "idempotency_key_reused")
    assert (await api.get(made.headers["Location"], headers=seller)).json() == payout
    assert (await api.get("/v1/payouts", headers=seller)).json() == {"data": [payout], "next_cursor": None}


@pytest.mark.usefixtures("enabled")
async def test_payout_needs_no_key_and_no_currency_where_there_is_one(
    api: httpx.AsyncClient, shop: Shop, seller: dict[str, str]
) -> None:
    order = await shop.order()
    await captured(shop, order, fee_minor=88)
    await complete(shop, order)

    made = await api.post("/v1/payouts", headers=seller)
    again = await api.post("/v1/payouts", headers=seller)

    assert (made.status_code, made.json()["currency"], made.json()["amount_minor"]) == (202, "USD", SHARE)
    assert_problem(again, 409, "nothing_to_pay_out")
    assert_problem(
        await api.post("/v1/payouts", headers={**seller, "Idempotency-Key": ""}), 400, "idempotency_key_invalid"
    )


async def test_seller_that_stripe_does_not_know_is_told_so(api: httpx.AsyncClient, seller: dict[str, str]) -> None:
    refused = await api.post("/v1/payouts", json={"currency": "USD"}, headers=with_key(seller))

    assert_problem(refused, 409, "payouts_not_enabled")


async def test_what_a_seller_owes_is_shown(api: httpx.AsyncClient, shop: Shop, seller: dict[str, str]) -> None:
    payment = await earned(shop)
    await paid_out(shop)
    await refund(shop, a_requested_refund(payment, shop))

    (balance,) = (await api.get("/v1/sellers/me/balance", headers=seller)).json()["data"]

    assert balance["balance_minor"] == -975
    parts = balance["pending_minor"] + balance["available_minor"] - balance["negative_minor"]
    assert parts + balance["in_payout_minor"] == -975


@pytest.mark.parametrize(
    ("pending", "available", "shown"),
    [
        (-1646, 0, {"pending_minor": 0, "available_minor": 0, "negative_minor": 1646}),
        (-1646, 500, {"pending_minor": 0, "available_minor": 500, "negative_minor": 1646}),
        (-1646, -100, {"pending_minor": 0, "available_minor": 0, "negative_minor": 1746}),
        (300, -100, {"pending_minor": 300, "available_minor": 0, "negative_minor": 100}),
    ],
)
def test_what_is_owed_of_held_money_is_shown_as_owed_too(
    pending: int, available: int, shown: dict[str, int]
) -> None:
    balance = SellerBalance("USD", pending, available, in_payout_minor=0, in_dispute_minor=0)

    answer = SellerBalanceAnswer.of(balance)

    assert answer.model_dump(include=set(shown)) == shown
    assert answer.balance_minor == answer.pending_minor + answer.available_minor - answer.negative_minor
