"""Webhooks about refunds, processed against a scripted Stripe."""

import json
from dataclasses import replace
from typing import Any

import pytest

from domain.coalescer import Coalescer
from domain.ids import PaymentId, uuid7
from domain.ledger.model import JournalKind
from domain.payments.model import Capture, Payment, PaymentStatus
from domain.refunds.model import Refund, RefundOrigin, RefundStatus
from domain.settlement.answers import IntentStatus, Refusal, StripeTransaction, Throttled, Unsure
from domain.settlement.inbox.charge_owners import ChargeOwners
from domain.settlement.inbox.refund_events import CHARGE_REFUNDED, MAX_ATTEMPTS, REFUND_EVENTS, RefundEvents
from domain.settlement.inbox.stripe_events import StripeEventService
from domain.settlement.model import Outcome, SettlementPolicy, StripeEvent, StripeEventStatus
from domain.settlement.refunds import RefundSettlement
from domain.work import Work
from tests.builders import Shop, a_refund, a_requested_refund, a_stripe_event
from tests.captured import captured
from tests.domain.fakes import FakeClock, Memory, ScriptedGateway
from tests.stripe_answers import an_intent, refunded, succeeded

PROCESSED, UNMATCHED = StripeEventStatus.PROCESSED, StripeEventStatus.UNMATCHED
RECEIVED, QUARANTINED = StripeEventStatus.RECEIVED, StripeEventStatus.QUARANTINED


@pytest.fixture
def settlement_of_refunds(memory: Memory, clock: FakeClock, policy: SettlementPolicy) -> RefundSettlement:
    return RefundSettlement(memory.begin, clock, policy)


@pytest.fixture
def service(
    memory: Memory,
    gateway: ScriptedGateway,
    settle: Coalescer[Outcome, bool],
    settlement_of_refunds: RefundSettlement,
    clock: FakeClock,
    policy: SettlementPolicy,
) -> StripeEventService:
    owners = ChargeOwners(memory.begin, gateway, settle)
    reader = RefundEvents(memory.begin, gateway, settlement_of_refunds, owners)
    return StripeEventService(memory.begin, [reader], clock, policy)


@pytest.fixture
async def payment(shop: Shop) -> Payment:
    return await captured(shop)


@pytest.fixture
async def refund(memory: Memory, payment: Payment, shop: Shop) -> Refund:
    refund = a_requested_refund(payment, shop)
    async with memory.begin() as tx:
        await tx.refunds.add([refund], publish_at=refund.created_at)
        await tx.commit()
    return refund


def told(payment: Payment, refund: Refund | None = None, kind: str = "refund.created", **raw: Any) -> StripeEvent:
    """Return Stripe's event about a refund of 10.00: one of ours, or one that was made without us."""
    found = {
        "id": f"re_{refund.id}" if refund else f"re_{payment.id}",
        "status": "succeeded",
        "amount": 1000,
        "currency": "usd",
        "charge": payment.stripe_charge_id,
        "payment_intent": payment.stripe_intent_id,
        "metadata": {"refund_id": str(refund.id)} if refund else {},
        "balance_transaction": "txn_1",
        **raw,
    }
    return a_stripe_event(kind, json.dumps({"data": {"object": found}}))


async def process(memory: Memory, service: StripeEventService, *events: StripeEvent) -> list[StripeEventStatus]:
    """Store and process events; return what became of each."""
    async with memory.begin() as tx:
        await tx.stripe_events.add(events, publish_at=events[0].received_at)
        await tx.commit()
    await service.process([event.id for event in events])
    return [memory.state.stripe_statuses[event.id] for event in events]


def kinds(memory: Memory) -> list[str]:
    return [journal.kind for journal in memory.state.journals]


async def test_webhook_before_the_answer_settles_the_refund_once(
    service: StripeEventService, memory: Memory, payment: Payment, refund: Refund
) -> None:
    events = [told(payment, refund) for _ in range(3)]

    assert await process(memory, service, *events) == [PROCESSED] * 3

    assert memory.state.refunds[refund.id].status is RefundStatus.SUCCEEDED
    assert kinds(memory) == [JournalKind.CHARGE, JournalKind.REFUND]
    # The webhook names Stripe's movement alone: its fee and its rate are asked for.
    assert memory.state.due[Work.REFUNDS][refund.id].due_at is not None


async def test_failure_is_undone_and_an_older_success_changes_nothing(
    service: StripeEventService, memory: Memory, payment: Payment, refund: Refund
) -> None:
    await process(memory, service, told(payment, refund))
    failed = told(payment, refund, "refund.failed", status="failed", failure_reason="lost_or_stolen_card")

    await process(memory, service, failed, told(payment, refund, "refund.updated"))

    after = memory.state.refunds[refund.id]
    assert (after.status, after.failure_code) == (RefundStatus.FAILED, "lost_or_stolen_card")
    assert kinds(memory) == [JournalKind.CHARGE, JournalKind.REFUND, JournalKind.REFUND_FAILED]
    assert memory.state.payments[payment.id].refunded_minor == 0


async def test_refund_from_the_dashboard_is_booked_once(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory, payment: Payment
) -> None:
    found = refunded(a_refund(payment, amount_minor=1000), stripe_refund_id=f"re_{payment.id}", refund_id=None)
    gateway.will("refunds_of", [found])
    charge = {"id": payment.stripe_charge_id, "metadata": {}}
    charge_refunded = a_stripe_event(CHARGE_REFUNDED, json.dumps({"data": {"object": charge}}))

    assert await process(memory, service, charge_refunded, told(payment)) == [PROCESSED] * 2

    (refund,) = memory.state.refunds.values()
    assert (refund.origin, refund.status) == (RefundOrigin.EXTERNAL, RefundStatus.SUCCEEDED)
    assert kinds(memory) == [JournalKind.CHARGE, JournalKind.REFUND]


@pytest.mark.parametrize("is_known", [False, True])
async def test_failed_refund_in_a_list_makes_room_for_the_newer_one_before_it(
    service: StripeEventService,
    settlement_of_refunds: RefundSettlement,
    gateway: ScriptedGateway,
    memory: Memory,
    payment: Payment,
    *,
    is_known: bool,
) -> None:
    newest, oldest = (refunded(a_refund(payment), refund_id=None) for _ in range(2))
    if is_known:
        await settlement_of_refunds.adopt(payment.id, oldest)
    back = StripeTransaction("txn_back", 1999, 0, "USD")
    failed = replace(oldest, status=RefundStatus.FAILED, failure_transaction_id=back.id, failure_transaction=back)
    gateway.will("refunds_of", [newest, failed])
    event = a_stripe_event(CHARGE_REFUNDED, json.dumps({"data": {"object": {"id": payment.stripe_charge_id}}}))

    assert await process(memory, service, event) == [PROCESSED]

    statuses = {each.stripe_refund_id: each.status for each in memory.state.refunds.values()}
    assert statuses == {
        oldest.stripe_refund_id: RefundStatus.FAILED,
        newest.stripe_refund_id: RefundStatus.SUCCEEDED,
    }
    assert sorted(kinds(memory)) == ["charge", "refund", "refund", "refund_failed"]
    assert memory.state.payments[payment.id].refunded_minor == 1999


async def test_refund_that_failed_is_booked_both_ways_after_the_one_that_took_its_room(
    service: StripeEventService, memory: Memory, payment: Payment
) -> None:
    newer = told(payment, id="re_newer", amount=1999)
    failed = told(
        payment, amount=1999, status="failed", balance_transaction="txn_2", failure_balance_transaction="txn_3"
    )

    assert await process(memory, service, newer) == [PROCESSED]
    assert await process(memory, service, failed, failed) == [PROCESSED] * 2

    (_, refund) = memory.state.refunds.values()
    assert (refund.status, refund.failure_code, refund.is_booked) == (RefundStatus.FAILED, "failed", False)
    assert kinds(memory) == [JournalKind.CHARGE, JournalKind.REFUND, JournalKind.REFUND, JournalKind.REFUND_FAILED]
    assert [event.type for event in memory.state.events if event.type.startswith("refund.")] == [
        "refund.succeeded",
        "refund.failed",
    ]
    # Its webhook names the movements alone: their fees are asked for.
    assert memory.state.due[Work.REFUNDS][refund.id].due_at is not None


async def test_refund_that_failed_before_its_money_moved_is_kept_and_books_nothing(
    service: StripeEventService, memory: Memory, payment: Payment
) -> None:
    failed = told(payment, amount=1999, status="canceled", balance_transaction=None)

    assert await process(memory, service, failed) == [PROCESSED]

    (refund,) = memory.state.refunds.values()
    assert refund.status is RefundStatus.FAILED
    assert kinds(memory) == [JournalKind.CHARGE]
    assert memory.state.due[Work.REFUNDS][refund.id].due_at is None


async def test_release_of_an_authorisation_is_no_refund(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory
) -> None:
    gateway.will("refunds_of", [])
    event = a_stripe_event(CHARGE_REFUNDED, json.dumps({"data": {"object": {"id": "ch_1"}}}))

    assert await process(memory, service, event) == [PROCESSED]


async def test_refund_of_a_charge_that_is_not_settled_yet_settles_it_first(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory, shop: Shop
) -> None:
    payment = await shop.payment()
    gateway.will("identify", Outcome(payment.id, succeeded(payment, fee_minor=0)))
    event = told(payment, charge=f"ch_{payment.id}", payment_intent=f"pi_{payment.id}")

    assert await process(memory, service, event) == [PROCESSED]

    assert gateway.intents == [f"pi_{payment.id}"]
    assert memory.state.payments[payment.id].status is PaymentStatus.SUCCEEDED
    assert kinds(memory) == [JournalKind.CHARGE, JournalKind.REFUND]


@pytest.mark.parametrize("answer", [None, Refusal("resource_missing"), "payment of another system"])
async def test_refund_of_a_charge_that_is_not_ours_is_unmatched(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory, payment: Payment, answer: object
) -> None:
    if isinstance(answer, str):
        answer = Outcome(PaymentId(uuid7()), Refusal("x"))
    gateway.will("identify", answer)

    assert await process(memory, service, told(payment, charge="ch_2")) == [UNMATCHED]
    assert await process(memory, service, told(payment, charge="ch_2", payment_intent=None)) == [UNMATCHED]
    assert memory.state.refunds == {}


@pytest.mark.parametrize("answer", [Unsure("timeout"), Throttled("rate limit")])
async def test_event_waits_while_stripe_does_not_say_whose_it_is(
    service: StripeEventService,
    gateway: ScriptedGateway,
    memory: Memory,
    clock: FakeClock,
    policy: SettlementPolicy,
    payment: Payment,
    answer: object,
) -> None:
    gateway.will("identify", answer)
    gateway.will("refunds_of", answer)
    event = told(payment, charge="ch_2")
    listed = a_stripe_event(CHARGE_REFUNDED, json.dumps({"data": {"object": {"id": "ch_2"}}}))
    assert await process(memory, service, event, listed) == [RECEIVED, RECEIVED]

    gateway.will("identify", None)
    gateway.will("refunds_of", [])
    clock.advance(policy.lease_s)
    assert await service.process([event.id, listed.id]) == 2

    assert memory.state.stripe_statuses == {event.id: UNMATCHED, listed.id: PROCESSED}


async def test_refund_of_ours_that_stripe_had_refused_is_another_one(
    service: StripeEventService,
    settlement_of_refunds: RefundSettlement,
    memory: Memory,
    payment: Payment,
    refund: Refund,
) -> None:
    """Should it turn up at Stripe after all, its money has moved."""
    await settlement_of_refunds.settle(refund.id, Refusal("charge_disputed"))

    assert await process(memory, service, told(payment, refund)) == [PROCESSED]

    origins = [each.origin for each in memory.state.refunds.values()]
    assert origins == [RefundOrigin.REQUESTED, RefundOrigin.EXTERNAL]
    assert kinds(memory) == [JournalKind.CHARGE, JournalKind.REFUND]


async def test_refund_without_room_waits_and_is_set_aside_in_the_end(
    service: StripeEventService,
    memory: Memory,
    clock: FakeClock,
    policy: SettlementPolicy,
    payment: Payment,
    refund: Refund,
) -> None:
    event = told(payment, amount=1999)

    statuses = [await process(memory, service, event)]
    for _ in range(MAX_ATTEMPTS):
        clock.advance(policy.lease_s)
        await service.process([event.id])
        statuses.append([memory.state.stripe_statuses[event.id]])

    assert statuses == [[RECEIVED]] * (MAX_ATTEMPTS - 1) + [[QUARANTINED]] * 2


@pytest.mark.parametrize("raw", [{"status": "melted"}, {"amount": "much"}, {"charge": None}, {"currency": None}])
async def test_event_that_cannot_be_read_is_quarantined(
    service: StripeEventService, memory: Memory, payment: Payment, raw: dict[str, Any]
) -> None:
    event = told(payment, **raw)
    if raw == {"currency": None}:
        event = a_stripe_event("refund.created", json.dumps({"data": {"object": {"id": "re_1"}}}))

    assert await process(memory, service, event) == [QUARANTINED]


def test_refund_events_are_stripes_names() -> None:
    assert all("refund." in kind for kind in REFUND_EVENTS)


@pytest.mark.parametrize("kind", ["refund.created", CHARGE_REFUNDED])
async def test_release_of_an_authorization_is_no_refund(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory, shop: Shop, kind: str
) -> None:
    payment = await shop.payment(capture=Capture.MANUAL)
    canceled = an_intent(IntentStatus.CANCELED, payment)
    authorized = replace(payment, stripe_charge_id="ch_1", stripe_intent_id=canceled.intent_id)
    gateway.will("identify", Outcome(payment.id, canceled))
    found = refunded(a_refund(authorized), refund_id=None, intent_id=canceled.intent_id, transaction_id=None)
    gateway.will("refunds_of", [replace(found, transaction=None)])
    charge = {"data": {"object": {"id": "ch_1", "metadata": {}}}}
    event = (
        a_stripe_event(kind, json.dumps(charge))
        if kind == CHARGE_REFUNDED
        else told(authorized, balance_transaction=None, reason="expired_uncaptured_charge")
    )

    assert await process(memory, service, event) == [PROCESSED]

    assert memory.state.payments[payment.id].status is PaymentStatus.CANCELED
    assert (memory.state.refunds, memory.state.journals) == ({}, [])


@pytest.mark.parametrize("is_release", [True, False])
async def test_movement_of_a_refund_tells_it_from_the_release_of_a_partial_capture(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory, shop: Shop, *, is_release: bool
) -> None:
    payment = await captured(shop, received_minor=999)
    moved = StripeTransaction("txn_1", -500, 0, "USD", is_release=is_release)
    found = refunded(a_refund(payment, amount_minor=500), refund_id=None, stripe_refund_id=f"re_{payment.id}")
    another = refunded(a_refund(payment, amount_minor=400), refund_id=None, stripe_refund_id="re_another")
    gateway.will("refunds_of", [another, replace(found, transaction_id=moved.id, transaction=moved)])

    assert await process(memory, service, told(payment, amount=500)) == [PROCESSED]

    assert kinds(memory) == [JournalKind.CHARGE, *([] if is_release else [JournalKind.REFUND])]


async def test_refund_of_a_partial_capture_waits_until_stripe_tells_its_movement(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory, shop: Shop
) -> None:
    payment = await captured(shop, received_minor=999)
    gateway.will("refunds_of", Unsure("cut"))

    assert await process(memory, service, told(payment, amount=500)) == [RECEIVED]

    assert (memory.state.refunds, kinds(memory)) == ({}, [JournalKind.CHARGE])
