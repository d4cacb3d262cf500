"""Charging against a scripted Stripe."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import pytest

from domain.coalescer import Coalescer
from domain.errors import DomainError, Unavailable
from domain.ids import PaymentId, uuid7
from domain.orders.model import OrderStatus
from domain.payments.model import Payment, PaymentStatus
from domain.settlement.answers import (
    Absent,
    Answer,
    IntentStatus,
    Refusal,
    StripeTransaction,
    Throttled,
    Unsure,
)
from domain.settlement.charges import ChargeService
from domain.settlement.model import Outcome, SettlementPolicy
from domain.settlement.service import SettlementService
from tests.builders import Shop
from tests.domain.fakes import FakeClock, Memory, RecordingAnnouncer, ScriptedGateway
from tests.domain.settlement.loop_turns import many_turns
from tests.stripe_answers import an_intent, declined, succeeded


def now_of(memory: Memory, payment: Payment) -> Payment:
    return memory.state.payments[payment.id]


async def test_charged_payment_succeeds_and_pays_its_order(
    charges: ChargeService, gateway: ScriptedGateway, memory: Memory, payment: Payment
) -> None:
    gateway.will("charge", succeeded(payment))

    assert await charges.process([payment.id]) == 1

    assert now_of(memory, payment).status is PaymentStatus.SUCCEEDED
    assert [order.status for order in memory.state.orders.values()] == [OrderStatus.PAID]
    assert [journal.kind for journal in memory.state.journals] == ["charge", "stripe_fee"]


async def test_doubled_message_asks_stripe_once(
    charges: ChargeService, gateway: ScriptedGateway, payment: Payment
) -> None:
    gateway.will("charge", succeeded(payment))

    assert await charges.process([payment.id]) == 1
    assert await charges.process([payment.id, PaymentId(uuid7())]) == 0

    assert gateway.questions == ["charge"]


async def test_declined_payment_fails_only_after_its_intent_is_canceled(
    charges: ChargeService, gateway: ScriptedGateway, memory: Memory, payment: Payment
) -> None:
    gateway.will("charge", declined(payment, "lost_card"))
    gateway.will("cancel", an_intent(IntentStatus.CANCELED, payment))

    await charges.process([payment.id])

    assert gateway.questions == ["charge", "cancel"]
    after = now_of(memory, payment)
    assert (after.status, after.failure_code) == (PaymentStatus.FAILED, "lost_card")
    assert memory.state.journals == []


async def test_intent_that_was_never_confirmed_is_canceled(
    charges: ChargeService, gateway: ScriptedGateway, memory: Memory, payment: Payment
) -> None:
    gateway.will("charge", an_intent(IntentStatus.REQUIRES_CONFIRMATION, payment))
    gateway.will("cancel", an_intent(IntentStatus.CANCELED, payment))

    await charges.process([payment.id])

    assert now_of(memory, payment).status is PaymentStatus.CANCELED


async def test_declined_but_paid_meanwhile_succeeds(
    charges: ChargeService, gateway: ScriptedGateway, memory: Memory, payment: Payment
) -> None:
    gateway.will("charge", declined(payment))
    gateway.will("cancel", succeeded(payment))

    await charges.process([payment.id])

    after = now_of(memory, payment)
    assert (after.status, after.failure_code) == (PaymentStatus.SUCCEEDED, None)


async def test_unanswered_cancellation_is_remembered_and_done_later(
    charges: ChargeService, gateway: ScriptedGateway, memory: Memory, clock: FakeClock, payment: Payment
) -> None:
    gateway.will("charge", declined(payment, "lost_card"))
    gateway.will("cancel", Unsure("timeout"), an_intent(IntentStatus.CANCELED, payment))
    gateway.will("retrieve", replace(declined(payment), failure_code=None))

    await charges.process([payment.id])
    assert now_of(memory, payment).status is PaymentStatus.PROCESSING
    clock.advance(10)
    await charges.process([payment.id])

    assert gateway.questions == ["charge", "cancel", "retrieve", "cancel"]
    after = now_of(memory, payment)
    assert (after.status, after.failure_code) == (PaymentStatus.FAILED, "lost_card")


async def test_unsure_charge_is_repeated_until_it_is_answered(
    charges: ChargeService, gateway: ScriptedGateway, memory: Memory, clock: FakeClock, payment: Payment
) -> None:
    gateway.will("charge", Unsure("timeout"), Throttled("rate limit", 5), succeeded(payment))

    await charges.process([payment.id])
    assert now_of(memory, payment).status is PaymentStatus.UNKNOWN
    clock.advance(1)
    await charges.process([payment.id])
    clock.advance(4)
    assert await charges.process([payment.id]) == 0
    clock.advance(1)
    await charges.process([payment.id])

    assert gateway.questions == ["charge"] * 3
    after = now_of(memory, payment)
    assert (after.status, after.attempts) == (PaymentStatus.SUCCEEDED, 3)


async def test_recorded_error_is_followed_by_look_ups_alone(
    charges: ChargeService, gateway: ScriptedGateway, memory: Memory, clock: FakeClock, payment: Payment
) -> None:
    gateway.will("charge", Unsure("replayed 500", lookup_only=True))
    gateway.will("find", Unsure("timeout"), succeeded(payment))

    for _ in range(3):
        await charges.process([payment.id])
        clock.advance(10)

    assert gateway.questions == ["charge", "find", "find"]
    assert now_of(memory, payment).status is PaymentStatus.SUCCEEDED


async def test_key_that_stripe_may_have_forgotten_is_never_used_again(
    charges: ChargeService,
    gateway: ScriptedGateway,
    memory: Memory,
    clock: FakeClock,
    policy: SettlementPolicy,
    payment: Payment,
) -> None:
    gateway.will("charge", Unsure("timeout"))
    gateway.will("find", Absent(), Absent(), Absent())

    await charges.process([payment.id])
    clock.advance(policy.stripe_key_lifetime_s)
    await charges.process([payment.id])
    assert now_of(memory, payment).status is PaymentStatus.UNKNOWN
    clock.advance(policy.lookup_grace_s - 1)
    await charges.process([payment.id])
    assert now_of(memory, payment).status is PaymentStatus.UNKNOWN
    clock.advance(10)
    await charges.process([payment.id])

    assert gateway.questions == ["charge", "find", "find", "find"]
    after = now_of(memory, payment)
    assert (after.status, after.failure_code) == (PaymentStatus.FAILED, "charge_not_made")


async def test_worker_that_died_leaves_its_payment_to_the_next_lease(
    charges: ChargeService,
    gateway: ScriptedGateway,
    memory: Memory,
    clock: FakeClock,
    policy: SettlementPolicy,
    payment: Payment,
) -> None:
    with pytest.raises(IndexError):  # the script is empty: the process ends in the middle of its call
        await charges.process([payment.id])
    assert await charges.process([payment.id]) == 0
    gateway.will("charge", succeeded(payment))

    clock.advance(policy.lease_s)
    await charges.process([payment.id])

    assert now_of(memory, payment).status is PaymentStatus.SUCCEEDED


async def test_customer_who_stays_away_loses_the_intent(
    charges: ChargeService,
    gateway: ScriptedGateway,
    memory: Memory,
    clock: FakeClock,
    policy: SettlementPolicy,
    payment: Payment,
) -> None:
    waiting = an_intent(IntentStatus.REQUIRES_ACTION, payment)
    gateway.will("charge", waiting)
    gateway.will("retrieve", waiting)
    gateway.will("cancel", an_intent(IntentStatus.CANCELED, payment))

    await charges.process([payment.id])
    clock.advance(policy.action_ttl_s / 2)
    await charges.process([payment.id])
    clock.advance(policy.action_ttl_s / 2)
    await charges.process([payment.id])

    assert gateway.questions == ["charge", "retrieve", "cancel"]
    assert now_of(memory, payment).status is PaymentStatus.CANCELED


async def test_late_fee_is_asked_for_until_it_is_there(
    charges: ChargeService, gateway: ScriptedGateway, memory: Memory, clock: FakeClock, payment: Payment
) -> None:
    gateway.will("charge", succeeded(payment, fee_minor=None))
    gateway.will("retrieve", succeeded(payment, fee_minor=None), succeeded(payment, fee_minor=88))

    for _ in range(3):
        await charges.process([payment.id])
        clock.advance(10)

    assert await charges.process([payment.id]) == 0
    assert now_of(memory, payment).fee_minor == 88
    assert [journal.kind for journal in memory.state.journals] == ["charge", "stripe_fee"]


async def test_batch_mixes_charges_and_look_ups(
    charges: ChargeService,
    gateway: ScriptedGateway,
    memory: Memory,
    clock: FakeClock,
    shop: Shop,
    payment: Payment,
) -> None:
    gateway.will("charge", Unsure("replayed 500", lookup_only=True))
    await charges.process([payment.id])
    clock.advance(10)
    direct, refused = [await shop.payment(idempotency_key=key) for key in ("direct", "refused")]
    gateway.will("charge", succeeded(direct), Refusal("resource_missing"))
    gateway.will("find", succeeded(payment))

    assert await charges.process([refused.id, payment.id, direct.id]) == 3

    assert [now_of(memory, each).status for each in (payment, direct, refused)] == [
        PaymentStatus.SUCCEEDED,
        PaymentStatus.SUCCEEDED,
        PaymentStatus.FAILED,
    ]


async def test_charge_that_cannot_be_settled_lets_the_others_finish(
    memory: Memory, settlement: SettlementService, clock: FakeClock, policy: SettlementPolicy, shop: Shop
) -> None:
    """They have charged: whoever raises while they do leaves them without the task's timeout."""
    lost, held = [await shop.payment(idempotency_key=key) for key in ("lost", "held")]
    is_lost, may_answer = asyncio.Event(), asyncio.Event()

    class HoldingGateway(ScriptedGateway):
        async def charge(self, payment: Payment) -> Answer:
            if payment.id == held.id:
                await may_answer.wait()
            return succeeded(payment)

    async def lose(outcomes: Sequence[Outcome]) -> Sequence[bool | DomainError]:
        if outcomes[0].payment_id == lost.id:
            is_lost.set()
            return [Unavailable("the database is out of reach")]
        return await settlement.settle(outcomes)

    settle: Coalescer[Outcome, bool] = Coalescer(lose, max_batch=1)
    charges = ChargeService(memory.begin, HoldingGateway(), settle, clock, policy)

    work = asyncio.create_task(charges.process([lost.id, held.id]))
    await is_lost.wait()
    await many_turns()
    may_answer.set()
    with pytest.raises(Unavailable):
        await work

    assert now_of(memory, held).status is PaymentStatus.SUCCEEDED


async def test_settling_is_told_once_and_a_repeat_is_not(
    memory: Memory, announcer: RecordingAnnouncer, clock: FakeClock, policy: SettlementPolicy, payment: Payment
) -> None:
    told: list[tuple[PaymentStatus, datetime]] = []
    settlement = SettlementService(
        memory.begin, announcer, clock, policy, on_settled=lambda settled, at: told.append((settled.status, at))
    )
    clock.advance(seconds=3)

    await settlement.settle([Outcome(payment.id, Unsure("no answer"))])
    await settlement.settle([Outcome(payment.id, succeeded(payment))])
    await settlement.settle([Outcome(payment.id, succeeded(payment))])

    assert told == [(PaymentStatus.SUCCEEDED, clock.now())]


async def test_two_late_successes_of_one_order_in_one_batch_pay_it_once(
    settlement: SettlementService, memory: Memory, shop: Shop
) -> None:
    order, payments = await shop.order(), []
    for _ in range(2):
        payments.append(await shop.payment(order))
        await settlement.settle([Outcome(payments[-1].id, Refusal("expired_card"))])

    await settlement.settle([Outcome(payment.id, succeeded(payment)) for payment in payments])

    first, second = (now_of(memory, payment) for payment in payments)
    assert (first.status, second.status) == (PaymentStatus.SUCCEEDED, PaymentStatus.FAILED)
    assert [refund.payment_id for refund in memory.state.refunds.values()] == [second.id]
    assert not memory.state.quarantined


async def test_two_outcomes_of_one_payment_in_one_batch_follow_each_other(
    settlement: SettlementService, memory: Memory, payment: Payment
) -> None:
    outcomes = [Outcome(payment.id, answer) for answer in (succeeded(payment), Unsure("timeout"))]

    assert await settlement.settle(outcomes) == [True, False]

    assert now_of(memory, payment).status is PaymentStatus.SUCCEEDED


async def test_payment_on_which_a_rule_fails_waits_for_a_person_and_its_neighbours_settle(
    settlement: SettlementService, memory: Memory, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    payments = [await shop.payment(await shop.order(), idempotency_key=key) for key in ("one", "odd", "other")]
    one, odd, other = payments
    nowhere = StripeTransaction("txn_odd", 1000, 10, "CAD", exchange_rate=Decimal(0))
    answers = [succeeded(one), succeeded(odd, received_minor=1000, transaction=nowhere), succeeded(other)]

    await settlement.settle([Outcome(p.id, answer) for p, answer in zip(payments, answers, strict=True)])

    states = [now_of(memory, payment).status for payment in (one, other)]
    assert states == [PaymentStatus.SUCCEEDED] * 2
    assert memory.state.quarantined == {odd.id: "no rule expects what Stripe says: DivisionByZero"}
    (record,) = caplog.records
    assert (record.msg, vars(record)["payment_id"]) == ("payment_undecidable", str(odd.id))
    assert "decimal.DivisionByZero" in caplog.text
