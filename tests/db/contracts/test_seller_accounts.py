"""The contract of the repositories, in PostgreSQL and in memory: the sellers' accounts at Stripe."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain.errors import Refused
from domain.ids import UserId
from domain.sellers.model import OnboardingStatus
from tests.builders import NOW, Begin, Shop, a_seller_account, unique
from tests.db.contracts.reading import LATER


async def test_seller_has_one_account_which_is_leased_and_saved(any_begin: Begin, shop: Shop) -> None:
    account = a_seller_account(shop.seller.id, traceparent="00-1", request_id="request-1")
    async with any_begin() as tx:
        assert await tx.seller_accounts.add(account, publish_at=LATER)
        assert not await tx.seller_accounts.add(account, publish_at=LATER)
        assert await tx.seller_accounts.by_sellers([shop.seller.id, shop.other_seller.id]) == {
            shop.seller.id: account
        }
        assert await tx.seller_accounts.lock(shop.other_seller.id) is None
        (leased,) = await tx.seller_accounts.lease([shop.seller.id, shop.other_seller.id], NOW, LATER)
        assert leased == replace(account, attempts=1, first_sent_at=NOW)
        assert await tx.seller_accounts.lease([shop.seller.id], NOW, LATER) == []

        opened = replace(
            leased,
            status=OnboardingStatus.OPEN,
            stripe_account_id=unique("acct"),
            link="https://stripe.test/setup",
            link_expires_at=LATER,
            attempts=0,
            first_sent_at=None,
        )
        await tx.seller_accounts.save(opened, due_at=LATER)
        assert await tx.seller_accounts.lock(shop.seller.id) == opened
        assert await tx.seller_accounts.lease([shop.seller.id], NOW, LATER) == []
        (again,) = await tx.seller_accounts.lease([shop.seller.id], LATER, LATER + timedelta(seconds=60))
        assert again == replace(opened, attempts=1)


async def test_account_that_is_asked_for_or_told_of_is_due_though_somebody_holds_it(
    any_begin: Begin, shop: Shop
) -> None:
    known = unique("acct")
    async with any_begin() as tx:

        async def wake(stripe_account_id: str, seller_id: UserId | None = None) -> UserId | None:
            return await tx.seller_accounts.wake(stripe_account_id, seller_id, due_at=LATER, publish_at=LATER)

        await tx.seller_accounts.add(a_seller_account(shop.seller.id), publish_at=NOW)
        (leased,) = await tx.seller_accounts.lease([shop.seller.id], NOW, LATER)
        assert await wake(known) is None
        assert await wake(known, shop.seller.id) == shop.seller.id
        woken = await tx.seller_accounts.lock(shop.seller.id)
        assert woken == replace(leased, wakes=1)

        await tx.seller_accounts.save(
            replace(woken, status=OnboardingStatus.OPEN, stripe_account_id=known), due_at=None
        )
        assert await wake(unique("acct"), shop.seller.id) is None
        assert await wake(known) == shop.seller.id
        asked = await tx.seller_accounts.lock(shop.seller.id)
        assert asked is not None
        wish = replace(asked, status=OnboardingStatus.PENDING, traceparent="00-2", request_id="request-2")
        await tx.seller_accounts.ask(wish, due_at=NOW, publish_at=LATER)
        (again,) = await tx.seller_accounts.lease([shop.seller.id], NOW, LATER)
        assert (again.status, again.wakes, again.stripe_account_id) == (OnboardingStatus.PENDING, 3, known)
        assert (again.traceparent, again.request_id) == ("00-2", "request-2")


@pytest.mark.parametrize(
    "changes",
    [
        {"status": OnboardingStatus.FAILED, "failure_code": "x"},
        {"status": OnboardingStatus.PENDING, "stripe_account_id": "acct_of_another"},
    ],
)
async def test_account_does_not_go_back(any_begin: Begin, shop: Shop, changes: dict[str, Any]) -> None:
    account = a_seller_account(shop.seller.id)
    opened = replace(account, status=OnboardingStatus.OPEN, stripe_account_id=unique("acct"))
    async with any_begin() as tx:
        await tx.seller_accounts.add(account, publish_at=LATER)
        await tx.seller_accounts.save(opened, due_at=None)
        await tx.commit()

    with pytest.raises(Refused):
        async with any_begin() as tx:
            await tx.seller_accounts.save(replace(opened, **changes), due_at=None)


async def test_who_is_no_seller_has_no_account(any_begin: Begin, shop: Shop) -> None:
    with pytest.raises(Refused):
        async with any_begin() as tx:
            await tx.seller_accounts.add(a_seller_account(shop.buyer.id), publish_at=LATER)
