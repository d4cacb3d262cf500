"""Transfers of payouts, and their way on to the bank: one contract for the real database and the fakes."""

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from domain.ids import PayoutId, uuid7
from domain.payouts.model import Payout, PayoutStatus
from domain.settlement.answers import Absent, BankPayout, Refusal, Unsure
from domain.settlement.inbox.payout_events import PayoutEvents
from domain.settlement.inbox.stripe_events import Told
from domain.settlement.model import SettlementPolicy, StripeEventStatus
from domain.settlement.own_payouts import OwnPayouts
from domain.settlement.payouts import PayoutSettlement
from domain.settlement.reversals import ReversalSettlement
from domain.work import Work
from tests.builders import NOW, Begin, Shop, a_stripe_event, unique
from tests.db.contracts.payout_standing import FAILED, IN_TRANSIT, PAID, PENDING, events_of, stored, stripe_balance
from tests.db.contracts.reading import LATER
from tests.domain.fakes import FakeClock, ScriptedGateway
from tests.paid_out import SHARE, balance, drafted, earned, paid_out, parts, sent
from tests.stripe_answers import transferred


@pytest.fixture
def payouts(any_begin: Begin, clock: FakeClock) -> PayoutSettlement:
    return PayoutSettlement(any_begin, clock, SettlementPolicy())


@pytest.fixture
def gateway() -> ScriptedGateway:
    return ScriptedGateway()


async def test_transfer_is_booked_once_whatever_is_told_of_it(shop: Shop) -> None:
    await earned(shop)
    before = await stripe_balance(shop)
    payout = await drafted(shop)
    assert payout is not None

    for answer in (
        Unsure("cut"),
        transferred(payout),
        transferred(payout),
        Unsure("late"),
        Refusal("no"),
        Absent(),
    ):
        after = await sent(shop, payout, answer)

    assert (after.status, after.stripe_transfer_id) == (IN_TRANSIT, f"tr_{payout.id}")
    assert await stripe_balance(shop) == before - SHARE
    assert parts(await balance(shop)) == (0, 0, 0)
    assert await events_of(shop, payout) == ["payout.unknown", "payout.in_transit"]


async def test_refused_transfer_lets_its_shares_go(shop: Shop) -> None:
    await earned(shop)
    payout = await drafted(shop)
    assert payout is not None

    after = await sent(shop, payout, Refusal("balance_insufficient"))

    assert (after.status, after.failure_code) == (FAILED, "balance_insufficient")
    assert parts(await balance(shop)) == (0, SHARE, 0)
    again = await drafted(shop)
    assert again is not None
    assert again.amount_minor == SHARE


async def test_transfer_that_was_given_up_and_turns_up_is_owed_by_the_seller(shop: Shop) -> None:
    await earned(shop)
    payout = await drafted(shop)
    assert payout is not None
    await sent(shop, payout, Refusal("odd"))

    late = await sent(shop, payout, transferred(payout))

    assert (late.status, late.failure_code) == (IN_TRANSIT, None)
    assert parts(await balance(shop)) == (0, 0, 0)
    assert await drafted(shop) is None


@pytest.mark.parametrize("change", [{"amount_minor": 1}, {"currency": "EUR"}, {"destination": "acct_else"}])
async def test_transfer_of_something_else_is_quarantined(shop: Shop, change: dict[str, object]) -> None:
    await earned(shop)
    payout = await drafted(shop)
    assert payout is not None

    after = await sent(shop, payout, transferred(payout, **change))

    assert (after.status, after.is_booked) == (PENDING, False)
    assert await events_of(shop, payout) == ["payout.quarantined"]
    async with shop.begin() as tx:
        assert await tx.payout_work.lease([payout.id], LATER, LATER) == []


async def test_lease_is_given_once_and_begins_the_work(shop: Shop) -> None:
    await earned(shop)
    payout = await drafted(shop)
    assert payout is not None

    leases: list[Sequence[Payout]] = []
    for _ in range(2):
        async with shop.begin() as tx:
            leases.append(await tx.payout_work.lease([payout.id, PayoutId(uuid7())], NOW, LATER))
            await tx.commit()

    ((leased,), none) = leases
    assert (leased.status, leased.attempts, leased.first_sent_at) == (PayoutStatus.PROCESSING, 1, NOW)
    assert none == []
    async with shop.begin() as tx:
        claimed = await tx.due_work.claim(Work.PAYOUTS, LATER, republish_after_s=30, limit=100_000)
    assert payout.id in claimed


def to_the_bank(payout: Payout, status: PayoutStatus, **changes: object) -> BankPayout:
    bank = BankPayout(f"po_{payout.id}", status, transfer_ids=(payout.stripe_transfer_id or "",))
    return replace(bank, **changes)  # type: ignore[arg-type]  # a test's own names


async def test_payout_to_the_bank_is_mirrored(shop: Shop, payouts: PayoutSettlement) -> None:
    await earned(shop)
    payout = await paid_out(shop)
    failed = to_the_bank(payout, FAILED, failure_code="account_closed", transfer_ids=())

    for told in (to_the_bank(payout, IN_TRANSIT), to_the_bank(payout, PAID), to_the_bank(payout, PAID), failed):
        assert await payouts.follow(told)

    after = await stored(shop, payout)
    assert (after.status, after.failure_code, after.stripe_payout_id) == (
        FAILED,
        "account_closed",
        f"po_{payout.id}",
    )
    assert await events_of(shop, payout) == ["payout.in_transit", "payout.paid", "payout.failed"]
    assert parts(await balance(shop)) == (0, 0, 0), "the money is the seller's own, at its account"


async def test_payout_that_came_back_from_the_bank_goes_with_a_later_one(
    shop: Shop, payouts: PayoutSettlement
) -> None:
    await earned(shop)
    payout = await paid_out(shop)
    first = to_the_bank(payout, FAILED, failure_code="account_closed")
    again = BankPayout("po_again", PAID, earlier_ids=(first.stripe_payout_id,))

    for told in (first, again, first):
        await payouts.follow(told)

    after = await stored(shop, payout)
    assert (after.status, after.failure_code, after.stripe_payout_id) == (PAID, None, "po_again")


async def test_payouts_to_the_bank_are_followed_though_they_are_told_of_before_the_transfer_and_backwards(
    shop: Shop, clock: FakeClock, payouts: PayoutSettlement, gateway: ScriptedGateway
) -> None:
    await earned(shop)
    payout = await drafted(shop)
    assert payout is not None
    await sent(shop, payout, Unsure("cut"))
    first_id, again_id = unique("po"), unique("po")
    first = BankPayout(first_id, FAILED, "account_closed", (f"tr_{payout.id}",), (), (payout.id,))
    gateway.will("bank_payout", BankPayout(again_id, PAID, None, (), (first_id,)), first, first)
    gateway.will("find_transfer", transferred(payout))
    reversals, own = (
        ReversalSettlement(shop.begin, clock, SettlementPolicy()),
        OwnPayouts(shop.begin, gateway, clock),
    )
    reader = PayoutEvents(shop.begin, gateway, payouts, reversals, own)

    for told in (again_id, first_id):
        event = a_stripe_event("payout.updated", json.dumps({"account": payout.stripe_account_id}))
        assert await reader.read([Told(event, {"id": told})]) == {event.id: StripeEventStatus.PROCESSED}

    after = await stored(shop, payout)
    assert (after.status, after.failure_code, after.stripe_payout_id) == (PAID, None, again_id)
    assert await events_of(shop, payout) == ["payout.unknown", "payout.in_transit", "payout.paid"]


async def test_payout_to_the_bank_of_nothing_of_ours_is_nobody_s(payouts: PayoutSettlement) -> None:
    assert not await payouts.follow(BankPayout(unique("po"), PAID, transfer_ids=(unique("tr"),)))
