"""Webhooks about transfers and payouts to banks, processed against a scripted Stripe."""

import json
from dataclasses import replace
from typing import Any

import pytest

from domain.ids import PayoutId, uuid7
from domain.ledger.model import BANK, PROCESSING_FEES, STRIPE_BALANCE, Account, Journal, JournalKind
from domain.payouts.model import Payout, PayoutStatus, ReversalStatus
from domain.settlement.answers import (
    Absent,
    BankPayout,
    OwnPayout,
    Refusal,
    StripeTransaction,
    Throttled,
    TransferAnswer,
    Unsure,
)
from domain.settlement.inbox.payout_events import PayoutEvents
from domain.settlement.inbox.refund_events import MAX_ATTEMPTS
from domain.settlement.inbox.stripe_events import StripeEventService
from domain.settlement.model import SettlementPolicy, StripeEvent, StripeEventStatus
from domain.settlement.own_payouts import OwnPayouts
from domain.settlement.payouts import PayoutSettlement
from domain.settlement.reversals import ReversalSettlement
from domain.settlement.stripe_objects import read_bank_payout, read_own_payout
from tests.builders import Shop, a_requested_refund, a_stripe_event
from tests.domain.fakes import FakeClock, Memory, ScriptedGateway
from tests.paid_out import a_stripe_reversal, drafted, earned, paid_out, refund, reversals_of, sent, taken_back
from tests.stripe_answers import transferred

PROCESSED, UNMATCHED = StripeEventStatus.PROCESSED, StripeEventStatus.UNMATCHED
RECEIVED, QUARANTINED = StripeEventStatus.RECEIVED, StripeEventStatus.QUARANTINED


@pytest.fixture
def service(
    memory: Memory, gateway: ScriptedGateway, clock: FakeClock, policy: SettlementPolicy
) -> StripeEventService:
    payouts = PayoutSettlement(memory.begin, clock, policy)
    reversals = ReversalSettlement(memory.begin, clock, policy)
    own = OwnPayouts(memory.begin, gateway, clock)
    reader = PayoutEvents(memory.begin, gateway, payouts, reversals, own)
    return StripeEventService(memory.begin, [reader], clock, policy)


@pytest.fixture
async def payout(shop: Shop) -> Payout:
    await earned(shop)
    payout = await drafted(shop)
    assert payout is not None
    return payout


def of_transfer(payout: Payout, kind: str = "transfer.created", **raw: Any) -> StripeEvent:
    transfer = {
        "id": f"tr_{payout.id}",
        "amount": payout.amount_minor,
        "currency": "usd",
        "destination": payout.stripe_account_id,
        "metadata": {"payout_id": str(payout.id)},
    }
    return a_stripe_event(kind, json.dumps({"data": {"object": {**transfer, **raw}}}))


def of_bank(stripe_payout_id: str = "po_1", *, account: str | None = "acct_1") -> StripeEvent:
    return a_stripe_event(
        "payout.paid", json.dumps({"account": account, "data": {"object": {"id": stripe_payout_id}}})
    )


async def process(service: StripeEventService, memory: Memory, event: StripeEvent) -> StripeEventStatus:
    async with memory.begin() as tx:
        await tx.stripe_events.add([event], publish_at=event.received_at)
        await tx.commit()
    await service.process([event.id])
    return memory.state.stripe_statuses[event.id]


async def test_transfer_is_booked_by_the_webhook_that_comes_first(
    service: StripeEventService, memory: Memory, payout: Payout
) -> None:
    for _ in range(2):
        assert await process(service, memory, of_transfer(payout)) is PROCESSED

    assert memory.state.payouts[payout.id].status is PayoutStatus.IN_TRANSIT


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        ({"metadata": {}}, UNMATCHED),
        ({"metadata": {"payout_id": str(uuid7())}}, UNMATCHED),
        ({"destination": None}, QUARANTINED),
        ({"amount": "many"}, QUARANTINED),
        ({"amount": 1e999}, QUARANTINED),
    ],
)
async def test_transfer_that_is_not_ours_is_set_aside(
    service: StripeEventService, memory: Memory, payout: Payout, raw: dict[str, Any], status: StripeEventStatus
) -> None:
    assert await process(service, memory, of_transfer(payout, **raw)) is status
    assert await process(service, memory, of_transfer(payout, "transfer.reversed", **raw)) is status


async def test_reversals_of_a_transfer_are_booked_ours_and_those_made_without_us(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory, shop: Shop
) -> None:
    payment = await earned(shop)
    payout = await paid_out(shop)
    await refund(shop, a_requested_refund(payment, shop))
    (ours,) = await reversals_of(shop, payout)
    theirs = a_stripe_reversal(ours, stripe_reversal_id="trr_theirs", amount_minor=100, reversal_id=None)
    gateway.will("reversals_of", *[[a_stripe_reversal(ours), theirs]] * 2)

    for _ in range(2):
        assert await process(service, memory, of_transfer(payout, "transfer.reversed")) is PROCESSED

    made = {reversal.stripe_reversal_id: reversal for reversal in await reversals_of(shop, payout)}
    assert {key: (each.amount_minor, each.status) for key, each in made.items()} == {
        f"trr_{ours.id}": (975, ReversalStatus.SUCCEEDED),
        "trr_theirs": (100, ReversalStatus.SUCCEEDED),
    }


async def test_reversal_that_stripe_made_twice_for_one_of_ours_is_booked_twice(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory, shop: Shop
) -> None:
    """Its first key was given up, it was sent under the next one, and then the first one turned up, too."""
    payment = await earned(shop)
    await earned(shop)
    payout = await paid_out(shop)
    await refund(shop, a_requested_refund(payment, shop))
    (ours,) = await reversals_of(shop, payout)
    await taken_back(shop, ours, stripe_reversal_id="trr_second")
    both = [a_stripe_reversal(ours, stripe_reversal_id=f"trr_{name}") for name in ("second", "first")]
    gateway.will("reversals_of", both, both)

    for _ in range(2):
        assert await process(service, memory, of_transfer(payout, "transfer.reversed")) is PROCESSED

    made = [reversal.stripe_reversal_id for reversal in await reversals_of(shop, payout)]
    assert sorted(map(str, made)) == ["trr_first", "trr_second"]


async def test_reversal_that_cannot_be_booked_waits_and_is_set_aside_at_last(
    service: StripeEventService,
    gateway: ScriptedGateway,
    memory: Memory,
    shop: Shop,
    clock: FakeClock,
    policy: SettlementPolicy,
) -> None:
    payment = await earned(shop)
    payout = await paid_out(shop)
    await refund(shop, a_requested_refund(payment, shop))
    (ours,) = await reversals_of(shop, payout)
    theirs = a_stripe_reversal(ours, stripe_reversal_id="x", amount_minor=payout.amount_minor, reversal_id=None)
    gateway.will("reversals_of", *[[theirs]] * MAX_ATTEMPTS)
    event = of_transfer(payout, "transfer.reversed")

    statuses = [await process(service, memory, event)]
    for _ in range(MAX_ATTEMPTS - 1):
        clock.advance(policy.lease_s)
        await service.process([event.id])
        statuses.append(memory.state.stripe_statuses[event.id])

    assert statuses == [*[RECEIVED] * (MAX_ATTEMPTS - 1), QUARANTINED]


async def test_payout_to_the_bank_is_followed(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory, shop: Shop
) -> None:
    await earned(shop)
    payout = await paid_out(shop)
    bank = BankPayout("po_1", PayoutStatus.PAID, transfer_ids=(f"tr_{payout.id}",))
    gateway.will("bank_payout", Throttled("busy"), bank, BankPayout("po_2", PayoutStatus.PAID))

    statuses = [await process(service, memory, of_bank()) for _ in range(3)]

    assert statuses == [RECEIVED, PROCESSED, UNMATCHED]
    assert memory.state.payouts[payout.id].status is PayoutStatus.PAID


async def test_payout_to_the_bank_that_is_not_there_for_us_is_not_waited_for(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory, shop: Shop
) -> None:
    await earned(shop)
    payout = await paid_out(shop)
    paid = BankPayout("po_1", PayoutStatus.PAID, None, (f"tr_{payout.id}",), ("po_gone",))
    gateway.will("bank_payout", Absent(), paid, Absent())

    assert [await process(service, memory, of_bank()) for _ in range(2)] == [UNMATCHED, PROCESSED]
    assert memory.state.payouts[payout.id].status is PayoutStatus.PAID


async def unheard(shop: Shop, answer: TransferAnswer) -> Payout:
    """Store a payout of whose transfer that was heard."""
    await earned(shop)
    payout = await drafted(shop)
    assert payout is not None
    return await sent(shop, payout, answer)


@pytest.mark.parametrize("heard", [Unsure("cut"), Throttled("busy"), Refusal("transfer_not_made")])
async def test_transfer_that_nobody_heard_of_is_booked_when_it_is_on_its_way_to_the_bank(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory, shop: Shop, heard: TransferAnswer
) -> None:
    payout = await unheard(shop, heard)
    bank = BankPayout("po_1", PayoutStatus.PAID, None, (f"tr_{payout.id}",), (), (payout.id,))
    gateway.will("bank_payout", bank, bank)
    gateway.will("find_transfer", transferred(payout))

    for _ in range(2):
        assert await process(service, memory, of_bank()) is PROCESSED

    after = memory.state.payouts[payout.id]
    assert (after.status, after.stripe_payout_id) == (PayoutStatus.PAID, "po_1")
    assert [journal.kind for journal in memory.state.journals].count(JournalKind.PAYOUT) == 1


async def test_payout_to_the_bank_waits_for_what_became_of_a_transfer_in_it(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory, shop: Shop, clock: FakeClock
) -> None:
    payout = await unheard(shop, Unsure("cut"))
    bank = BankPayout("po_1", PayoutStatus.PAID, None, (f"tr_{payout.id}",), (), (payout.id,))
    gateway.will("bank_payout", bank, bank, bank)
    gateway.will("find_transfer", Unsure("cut"), Absent(), transferred(payout))
    event = of_bank()

    statuses = [await process(service, memory, event)]
    for _ in range(2):
        clock.advance(60)
        await service.process([event.id])
        statuses.append(memory.state.stripe_statuses[event.id])

    assert statuses == [RECEIVED, RECEIVED, PROCESSED]
    assert memory.state.payouts[payout.id].status is PayoutStatus.PAID


async def test_transfer_that_only_names_one_of_ours_is_not_waited_for(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory, shop: Shop
) -> None:
    """Another platform's, to an account that is its own as well: our list has none for a payout that failed."""
    payout = await unheard(shop, Refusal("balance_insufficient"))
    named = (payout.id, PayoutId(uuid7()))
    gateway.will("bank_payout", BankPayout("po_1", PayoutStatus.PAID, None, ("tr_theirs",), (), named))
    gateway.will("find_transfer", Absent())

    assert await process(service, memory, of_bank()) is UNMATCHED
    assert memory.state.payouts[payout.id].status is PayoutStatus.FAILED


async def test_later_payout_to_the_bank_is_told_of_before_the_earlier_ones_that_came_back(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory, shop: Shop
) -> None:
    await earned(shop)
    payout = await paid_out(shop)
    first = BankPayout("po_1", PayoutStatus.FAILED, "account_closed", (f"tr_{payout.id}",))
    second = BankPayout("po_2", PayoutStatus.FAILED, "account_closed", (), ("po_1",))
    third = BankPayout("po_3", PayoutStatus.PAID, None, (), ("po_2", "po_1"))
    gateway.will("bank_payout", third, second, first, second, first, first)

    assert await process(service, memory, of_bank("po_3")) is PROCESSED
    for late in ("po_2", "po_1"):
        assert await process(service, memory, of_bank(late)) is PROCESSED

    after = memory.state.payouts[payout.id]
    assert (after.status, after.failure_code, after.stripe_payout_id) == (PayoutStatus.PAID, None, "po_3")
    told = [event.type for event in memory.state.events if event.subject_id == payout.id]
    assert told == ["payout.in_transit", "payout.paid"]


@pytest.mark.parametrize("what", ["created", "updated", "paid", "failed", "canceled"])
async def test_whatever_is_told_of_a_payout_to_the_bank_is_read(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory, shop: Shop, what: str
) -> None:
    await earned(shop)
    payout = await paid_out(shop)
    gateway.will("bank_payout", BankPayout("po_1", PayoutStatus.PAID, None, (f"tr_{payout.id}",)))

    assert await process(service, memory, replace(of_bank(), type=f"payout.{what}")) is PROCESSED


async def test_payout_that_came_back_twice_is_paid_by_the_third(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory, shop: Shop
) -> None:
    """Each names only the one before it."""
    await earned(shop)
    payout = await paid_out(shop)
    first = BankPayout("po_1", PayoutStatus.FAILED, "account_closed", (f"tr_{payout.id}",))
    second = BankPayout("po_2", PayoutStatus.FAILED, "account_closed", (), ("po_1",))
    third = BankPayout("po_3", PayoutStatus.PAID, None, (), ("po_2",))
    gateway.will("bank_payout", first, third, second, first)

    for told in ("po_1", "po_3"):
        assert await process(service, memory, of_bank(told)) is PROCESSED

    after = memory.state.payouts[payout.id]
    assert (after.status, after.stripe_payout_id) == (PayoutStatus.PAID, "po_3")


async def test_payout_to_the_bank_waits_for_what_is_in_an_earlier_one(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory
) -> None:
    gateway.will("bank_payout", BankPayout("po_2", PayoutStatus.PAID, None, (), ("po_1",)), Throttled("busy"))

    assert await process(service, memory, of_bank("po_2")) is RECEIVED


async def test_line_of_payouts_that_came_back_is_followed_to_a_limit(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory
) -> None:
    line = [BankPayout(f"po_{n}", PayoutStatus.FAILED, "no", (), (f"po_{n - 1}",)) for n in range(90, 0, -1)]
    gateway.will("bank_payout", *line[:21])

    assert await process(service, memory, of_bank("po_90")) is UNMATCHED


async def test_payout_of_the_platform_itself_is_booked_once_and_so_is_what_comes_back_of_it(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory
) -> None:
    left = StripeTransaction("txn_left", -5000, 75, "USD")
    sent = OwnPayout("po_1", left)
    back = replace(sent, returned=StripeTransaction("txn_back", 5000, 0, "USD"))
    gateway.will("own_payout", Throttled("busy"), OwnPayout("po_1", None), sent, sent, back, Absent())

    statuses = [await process(service, memory, of_bank(account=None)) for _ in range(6)]

    assert statuses == [RECEIVED, UNMATCHED, PROCESSED, PROCESSED, PROCESSED, UNMATCHED]
    booked = {(journal.kind, journal.source): journal for journal in memory.state.journals}
    assert {key: legs(journal) for key, journal in booked.items()} == {
        (JournalKind.BANK_PAYOUT, "po_1"): {BANK: 5000, STRIPE_BALANCE: -5000},
        (JournalKind.BANK_PAYOUT_FEE, "txn_left"): {PROCESSING_FEES: 75, STRIPE_BALANCE: -75},
        (JournalKind.BANK_PAYOUT_RETURNED, "po_1"): {BANK: -5000, STRIPE_BALANCE: 5000},
    }


def legs(journal: Journal) -> dict[Account, int]:
    return {entry.account: entry.amount_minor for entry in journal.entries}


def test_what_is_no_payout_of_the_platform_is_not_read() -> None:
    with pytest.raises(ValueError, match="no payout"):
        read_own_payout({"object": "charge", "id": "po_1"})


async def test_unanswered_list_of_reversals_is_asked_for_again(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory, payout: Payout
) -> None:
    gateway.will("reversals_of", Throttled("busy"))

    assert await process(service, memory, of_transfer(payout, "transfer.reversed")) is RECEIVED


def test_payout_to_the_bank_is_read_with_what_is_in_it() -> None:
    ours = PayoutId(uuid7())
    expanded = {"id": "tr_3", "metadata": {"payout_id": str(ours)}}
    movements = [
        {"type": "payment", "source": {"id": "py_1", "source_transfer": "tr_1"}},
        {"type": "payment", "source": "py_2"},
        {"type": "payment", "source": {"id": "py_3", "source_transfer": expanded}},
        {"type": "payment", "source": {"id": "py_4", "source_transfer": {"id": "tr_4", "metadata": {}}}},
        {"type": "payout", "source": {"id": "po_2"}},
        {"type": "payout_failure", "source": {"id": "po_1"}},
    ]

    read = read_bank_payout({"id": "po_2", "status": "canceled", "failure_code": None}, movements)

    transfers = ("tr_1", "tr_3", "tr_4")
    assert read == BankPayout("po_2", PayoutStatus.FAILED, "canceled", transfers, ("po_1",), (ours,))
