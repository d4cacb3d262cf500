"""Payments that are captured later, or given up: by whoever asks for it, or by Stripe."""

from domain.orders.model import OrderStatus
from domain.payments.model import Capture, Payment, PaymentStatus
from domain.settlement.answers import CaptureRefused, IntentStatus, Unsure
from domain.settlement.charges import ChargeService
from domain.settlement.decide.charges import CAPTURE_POLL
from tests.builders import Shop
from tests.domain.fakes import FakeClock, Memory, ScriptedGateway
from tests.domain.settlement.test_charges import now_of
from tests.stripe_answers import an_intent, succeeded


async def test_authorized_payment_is_captured_when_it_is_asked_for(
    charges: ChargeService, gateway: ScriptedGateway, memory: Memory, clock: FakeClock, shop: Shop
) -> None:
    payment = await shop.payment(await shop.order(), capture=Capture.MANUAL)
    gateway.will("charge", an_intent(IntentStatus.REQUIRES_CAPTURE, payment))
    gateway.will("capture", Unsure("timeout"), succeeded(payment, received_minor=1000))
    await charges.process([payment.id])
    async with memory.begin() as tx:
        await tx.payments.ask_for_capture(payment.id, 1000, due_at=clock.now(), publish_at=clock.now())
        await tx.commit()

    assert await charges.process([payment.id]) == 1
    assert now_of(memory, payment).status is PaymentStatus.REQUIRES_CAPTURE
    clock.advance(10)
    assert await charges.process([payment.id]) == 1

    after = now_of(memory, payment)
    assert (after.status, after.captured_minor) == (PaymentStatus.SUCCEEDED, 1000)
    assert [order.status for order in memory.state.orders.values()] == [OrderStatus.PAID]
    assert gateway.questions == ["charge", "capture", "capture"]


async def test_refused_capture_is_asked_for_no_more(
    charges: ChargeService, gateway: ScriptedGateway, memory: Memory, clock: FakeClock, shop: Shop
) -> None:
    payment = await shop.payment(capture=Capture.MANUAL)
    gateway.will("charge", an_intent(IntentStatus.REQUIRES_CAPTURE, payment))
    gateway.will("capture", CaptureRefused("amount_too_small"))
    await charges.process([payment.id])
    async with memory.begin() as tx:
        await tx.payments.ask_for_capture(payment.id, 10, due_at=clock.now(), publish_at=clock.now())
        await tx.commit()

    await charges.process([payment.id])
    clock.advance(1000)

    assert await charges.process([payment.id]) == 0
    assert now_of(memory, payment).capture_minor is None


async def test_payment_that_is_cancelled_before_it_is_sent_is_never_sent(
    charges: ChargeService, gateway: ScriptedGateway, memory: Memory, clock: FakeClock, payment: Payment
) -> None:
    async with memory.begin() as tx:
        await tx.payments.ask_for_cancellation(payment.id, due_at=clock.now(), publish_at=clock.now())
        await tx.commit()

    await charges.process([payment.id])

    assert gateway.questions == []
    assert now_of(memory, payment).status is PaymentStatus.CANCELED


async def test_payment_that_is_cancelled_while_its_outcome_is_unknown_is_looked_up_and_cancelled(
    charges: ChargeService, gateway: ScriptedGateway, memory: Memory, clock: FakeClock, payment: Payment
) -> None:
    gateway.will("charge", Unsure("timeout"))
    gateway.will("find", an_intent(IntentStatus.REQUIRES_ACTION, payment))
    gateway.will("cancel", an_intent(IntentStatus.CANCELED, payment))
    await charges.process([payment.id])
    async with memory.begin() as tx:
        await tx.payments.ask_for_cancellation(payment.id, due_at=clock.now(), publish_at=clock.now())
        await tx.commit()

    for _ in range(2):
        await charges.process([payment.id])
        clock.advance(10)

    assert gateway.questions == ["charge", "find", "cancel"]
    assert now_of(memory, payment).status is PaymentStatus.CANCELED


async def test_cancellation_that_comes_too_late_leaves_the_success(
    charges: ChargeService, gateway: ScriptedGateway, memory: Memory, clock: FakeClock, payment: Payment
) -> None:
    gateway.will("charge", an_intent(IntentStatus.REQUIRES_ACTION, payment))
    gateway.will("cancel", succeeded(payment))
    await charges.process([payment.id])
    async with memory.begin() as tx:
        await tx.payments.ask_for_cancellation(payment.id, due_at=clock.now(), publish_at=clock.now())
        await tx.commit()

    await charges.process([payment.id])

    assert now_of(memory, payment).status is PaymentStatus.SUCCEEDED
    assert await charges.process([payment.id]) == 0


async def test_authorization_that_expires_at_stripe_is_canceled(
    charges: ChargeService, gateway: ScriptedGateway, memory: Memory, clock: FakeClock, shop: Shop
) -> None:
    payment = await shop.payment(await shop.order(), capture=Capture.MANUAL)
    gateway.will("charge", an_intent(IntentStatus.REQUIRES_CAPTURE, payment))
    gateway.will("retrieve", an_intent(IntentStatus.CANCELED, payment))
    await charges.process([payment.id])
    clock.advance(CAPTURE_POLL.total_seconds())

    assert await charges.process([payment.id]) == 1

    assert now_of(memory, payment).status is PaymentStatus.CANCELED
    assert [order.status for order in memory.state.orders.values()] == [OrderStatus.PENDING]
