"""Webhooks about disputes, processed against a scripted Stripe."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from domain.coalescer import Coalescer
from domain.disputes.model import DisputeFunds
from domain.errors import Unavailable
from domain.ids import PaymentId, uuid7
from domain.orders.model import OrderStatus
from domain.payments.model import Payment
from domain.settlement.answers import Refusal, StripeDispute, Unsure
from domain.settlement.disputes import DisputeSettlement
from domain.settlement.inbox.charge_owners import ChargeOwners
from domain.settlement.inbox.dispute_events import DISPUTE_EVENTS, DisputeEvents
from domain.settlement.inbox.refund_events import MAX_ATTEMPTS
from domain.settlement.inbox.stripe_events import StripeEventService
from domain.settlement.model import Outcome, SettlementPolicy, StripeEvent, StripeEventStatus
from domain.settlement.stripe_objects import read_dispute, read_event_object
from tests.builders import NOW, Shop, a_stripe_event
from tests.domain.fakes import FakeClock, Memory, ScriptedGateway
from tests.domain.settlement.disputes.standing import LOST, known, order_of


@pytest.fixture
def service(
    memory: Memory,
    gateway: ScriptedGateway,
    settle: Coalescer[Outcome, bool],
    disputes: DisputeSettlement,
    clock: FakeClock,
    policy: SettlementPolicy,
) -> StripeEventService:
    reader = DisputeEvents(disputes, ChargeOwners(memory.begin, gateway, settle), gateway)
    return StripeEventService(memory.begin, [reader], clock, policy)


def report(payment: Payment, kind: str = "charge.dispute.created", **raw: Any) -> StripeEvent:
    """Return Stripe's event about a dispute of 19.99."""
    withdrawal = {"id": f"txn_{payment.id}", "amount": -1999, "fee": 1500, "net": -3499, "currency": "usd"}
    found = {
        "id": f"dp_{payment.id}",
        "status": "needs_response",
        "amount": 1999,
        "currency": "usd",
        "reason": "fraudulent",
        "charge": payment.stripe_charge_id,
        "payment_intent": payment.stripe_intent_id,
        "created": 1_795_000_000,
        "evidence_details": {"due_by": 1_795_700_000},
        "balance_transactions": [withdrawal],
        **raw,
    }
    return a_stripe_event(kind, json.dumps({"data": {"object": found}}))


async def process(memory: Memory, service: StripeEventService, events: Sequence[StripeEvent]) -> list[str]:
    async with memory.begin() as tx:
        await tx.stripe_events.add(events, publish_at=NOW)
        await tx.commit()
    await service.process([event.id for event in events])
    return [str(memory.state.stripe_statuses[event.id]) for event in events]


async def test_webhooks_of_a_dispute_are_settled_in_any_order(
    service: StripeEventService, memory: Memory, payment: Payment
) -> None:
    closed = report(payment, "charge.dispute.closed", status="lost")
    created = report(payment, balance_transactions=[])
    withdrawn = report(payment, "charge.dispute.funds_withdrawn")

    for event in (closed, created, withdrawn):
        assert await process(memory, service, [event]) == ["processed"]

    after = known(memory)
    assert (after.status, after.funds) == (LOST, DisputeFunds.LOST)
    assert after.evidence_due_at is not None
    assert after.evidence_due_at.timestamp() == 1_795_700_000
    assert order_of(memory) is OrderStatus.REFUNDED


async def test_dispute_of_a_charge_that_is_not_ours_is_unmatched(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory, payment: Payment
) -> None:
    gateway.will("identify", None)

    assert await process(memory, service, [report(payment, charge="ch_2")]) == ["unmatched"]
    assert memory.state.disputes == {}


async def test_dispute_waits_for_stripe_and_for_its_charge(
    service: StripeEventService,
    gateway: ScriptedGateway,
    memory: Memory,
    clock: FakeClock,
    policy: SettlementPolicy,
    shop: Shop,
) -> None:
    payment = await shop.payment()
    event = report(payment, charge=f"ch_{payment.id}", payment_intent=f"pi_{payment.id}")
    gateway.will("identify", Unsure("timeout"))
    assert await process(memory, service, [event]) == ["received"]

    for _ in range(MAX_ATTEMPTS):
        gateway.will("identify", Outcome(payment.id, Unsure("not readable")))
        clock.advance(policy.lease_s)
        await service.process([event.id])

    assert memory.state.stripe_statuses[event.id] is StripeEventStatus.QUARANTINED


async def in_appeal(
    memory: Memory, service: StripeEventService, gateway: ScriptedGateway, payment: Payment
) -> None:
    """Bring a dispute that was lost into an appeal; that it is no late word Stripe is asked."""
    appeal = report(payment, "charge.dispute.updated", status="appeal_under_review")
    gateway.will("dispute", present(appeal))
    await process(memory, service, [report(payment, "charge.dispute.closed", status="lost")])
    await process(memory, service, [appeal])
    assert order_of(memory) is OrderStatus.DISPUTED


def present(event: StripeEvent) -> StripeDispute:
    return read_dispute(read_event_object(event.body))


@pytest.mark.parametrize("now", ["lost", "appeal_under_review"])
async def test_loss_that_is_told_during_an_appeal_counts_if_stripe_says_so(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory, payment: Payment, now: str
) -> None:
    await in_appeal(memory, service, gateway, payment)
    gateway.will("dispute", present(report(payment, status=now)))

    lost = report(payment, "charge.dispute.closed", status="lost")
    assert await process(memory, service, [lost]) == ["processed"]

    assert known(memory).status == now
    assert order_of(memory) is (OrderStatus.REFUNDED if now == "lost" else OrderStatus.DISPUTED)
    assert gateway.disputes == [f"dp_{payment.id}"] * 2


async def test_appeal_that_is_told_late_does_not_open_what_is_lost(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory, payment: Payment
) -> None:
    lost = report(payment, "charge.dispute.closed", status="lost")
    await process(memory, service, [lost])
    gateway.will("dispute", present(lost))

    late = report(payment, "charge.dispute.updated", status="appeal_under_review")
    assert await process(memory, service, [late]) == ["processed"]

    assert (known(memory).status, order_of(memory)) == (LOST, OrderStatus.REFUNDED)


async def test_doubtful_report_waits_until_stripe_says_how_the_dispute_stands(
    service: StripeEventService,
    gateway: ScriptedGateway,
    memory: Memory,
    clock: FakeClock,
    policy: SettlementPolicy,
    payment: Payment,
) -> None:
    await in_appeal(memory, service, gateway, payment)
    lost = report(payment, "charge.dispute.closed", status="lost")
    gateway.will("dispute", Unavailable("timeout"), present(lost))
    assert await process(memory, service, [lost]) == ["received"]

    clock.advance(policy.lease_s)
    await service.process([lost.id])

    assert memory.state.stripe_statuses[lost.id] is StripeEventStatus.PROCESSED
    assert known(memory).status is LOST


async def test_doubtful_report_of_a_dispute_that_stripe_does_not_know_is_unmatched(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory, payment: Payment
) -> None:
    await in_appeal(memory, service, gateway, payment)
    gateway.will("dispute", None)

    assert await process(memory, service, [report(payment, status="lost")]) == ["unmatched"]
    assert order_of(memory) is OrderStatus.DISPUTED


async def test_dispute_of_another_systems_payment_is_unmatched(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory, payment: Payment
) -> None:
    gateway.will("identify", Outcome(PaymentId(uuid7()), Refusal("x")))

    assert await process(memory, service, [report(payment, charge="ch_2")]) == ["unmatched"]


@pytest.mark.parametrize(
    "raw",
    [
        {"status": "melted"},
        {"charge": None},
        {"amount": "much"},
        {"created": 10**30},
        {"balance_transactions": [{}]},
        {"evidence_details": []},
        {"balance_transactions": 1},
    ],
)
async def test_dispute_that_cannot_be_read_is_quarantined(
    service: StripeEventService, memory: Memory, payment: Payment, raw: dict[str, Any]
) -> None:
    statuses = await process(memory, service, [report(payment, **raw)])

    assert statuses == (["processed"] if raw == {"evidence_details": []} else ["quarantined"])


def test_dispute_events_are_stripes_names() -> None:
    assert all(kind.startswith("charge.dispute.") for kind in DISPUTE_EVENTS)
