"""Returning captured money that paid for nothing, against a scripted Stripe."""

import pytest

from domain.ids import RefundId, uuid7
from domain.ledger.model import STRIPE_BALANCE, UNAPPLIED_CHARGES, Balance
from domain.payments.model import Payment
from domain.payments.ports import Work
from domain.settlement.model import (
    Outcome,
    Refund,
    RefundStatus,
    Refusal,
    SettlementPolicy,
    StripeRefund,
    Throttled,
    Unsure,
)
from domain.settlement.refunds import RefundService
from domain.settlement.service import SettlementService
from tests.builders import Shop, succeeded
from tests.domain.fakes import FakeClock, Memory, RecordingAnnouncer, ScriptedGateway


@pytest.fixture
def refunds(memory: Memory, gateway: ScriptedGateway, clock: FakeClock, policy: SettlementPolicy) -> RefundService:
    return RefundService(memory.begin, gateway, clock, policy)


@pytest.fixture
async def payment(shop: Shop) -> Payment:
    return await shop.payment()


@pytest.fixture
async def refund(settlement: SettlementService, memory: Memory, payment: Payment) -> Refund:
    """The refund of a direct payment that was given up and captured afterwards."""
    await settlement.settle([Outcome(payment.id, Refusal("expired_card"))])
    await settlement.settle([Outcome(payment.id, succeeded(payment, fee_minor=0))])
    (refund,) = memory.state.refunds.values()
    return refund


async def test_late_success_announces_its_refund(announcer: RecordingAnnouncer, refund: Refund) -> None:
    assert announcer.announced[Work.REFUNDS] == [refund.id]


async def test_refund_settles_once(
    refunds: RefundService, gateway: ScriptedGateway, memory: Memory, refund: Refund
) -> None:
    done = StripeRefund("re_1", RefundStatus.SUCCEEDED)
    gateway.will("refund", done)

    assert await refunds.process([refund.id]) == 1
    assert await refunds.process([refund.id]) == 0
    assert not await refunds.settle(refund.id, done)

    after = memory.state.refunds[refund.id]
    assert (after.status, after.stripe_refund_id) == (RefundStatus.SUCCEEDED, "re_1")
    async with memory.begin() as tx:
        assert await tx.ledger.balances() == [
            Balance(STRIPE_BALANCE, "USD", 0),
            Balance(UNAPPLIED_CHARGES, "USD", 0),
        ]
        events = await tx.events.of_subject(refund.payment_id)
    (told,) = [event for event in events if event.type == "refund.succeeded"]
    assert set(told.audience) == memory.state.payments[refund.payment_id].parties(None)
    assert gateway.questions == ["refund"]


@pytest.mark.parametrize("answer", [Refusal("charge_disputed"), StripeRefund("re_1", RefundStatus.FAILED)])
async def test_failed_refund_books_nothing_and_is_told(
    refunds: RefundService,
    gateway: ScriptedGateway,
    memory: Memory,
    refund: Refund,
    answer: StripeRefund | Refusal,
) -> None:
    gateway.will("refund", answer)

    await refunds.process([refund.id])

    assert memory.state.refunds[refund.id].status is RefundStatus.FAILED
    assert len(memory.state.journals) == 1
    assert memory.state.events[-1].type == "refund.failed"


@pytest.mark.parametrize(
    ("answer", "wait_s"),
    [
        (Unsure("timeout"), 1),
        (Throttled("rate limit"), 1),
        (Throttled("rate limit", 20), 20),
        (StripeRefund("re_1", RefundStatus.PENDING), 1),
    ],
)
async def test_refund_without_an_end_is_asked_for_again(
    refunds: RefundService,
    gateway: ScriptedGateway,
    memory: Memory,
    clock: FakeClock,
    refund: Refund,
    answer: Unsure | Throttled | StripeRefund,
    wait_s: float,
) -> None:
    gateway.will("refund", answer, StripeRefund("re_1", RefundStatus.SUCCEEDED))

    await refunds.process([refund.id])
    clock.advance(wait_s - 0.5)
    assert await refunds.process([refund.id]) == 0
    clock.advance(0.5)
    assert await refunds.process([refund.id]) == 1

    assert memory.state.refunds[refund.id].status is RefundStatus.SUCCEEDED
    assert len(memory.state.journals) == 2


async def test_answer_for_an_unknown_refund_is_no_news(refunds: RefundService) -> None:
    assert not await refunds.settle(RefundId(uuid7()), Refusal("charge_disputed"))
