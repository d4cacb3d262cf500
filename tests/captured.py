"""Payments that are captured and booked, made by the settlement itself, on the real database or in memory."""

from typing import Any

from domain.orders.model import Order
from domain.payments.model import Payment
from domain.settlement.answers import Refusal, StripeTransaction
from domain.settlement.model import Outcome, SettlementPolicy
from domain.settlement.service import SettlementService
from tests.builders import Shop
from tests.domain.fakes import FakeClock, RecordingAnnouncer
from tests.stripe_answers import succeeded


async def captured(
    shop: Shop,
    order: Order | None = None,
    *,
    fee_minor: int | None = 0,
    received_minor: int | None = None,
    transaction: StripeTransaction | None = None,
    **changes: Any,
) -> Payment:
    """Store a payment of the order, or a direct one to the shop's seller, that succeeded; in full by default."""
    told = {"received_minor": received_minor, "transaction": transaction}
    received = {name: value for name, value in told.items() if value is not None}
    return await settle(shop, await shop.payment(order, **changes), fee_minor=fee_minor, **received)


async def settle(shop: Shop, payment: Payment, *, fee_minor: int | None = 0, **received: Any) -> Payment:
    """Settle the success of a stored payment."""
    await _settle(shop, Outcome(payment.id, succeeded(payment, fee_minor, **received)))
    return await stored(shop, payment)


async def captured_late(shop: Shop) -> Payment:
    """Store a direct payment that was given up and captured afterwards, so that it paid for nothing."""
    payment = await shop.payment()
    await _settle(shop, Outcome(payment.id, Refusal("expired_card")))
    await _settle(shop, Outcome(payment.id, succeeded(payment, fee_minor=0)))
    return await stored(shop, payment)


async def stored(shop: Shop, payment: Payment) -> Payment:
    """Return a payment as it is now."""
    async with shop.begin() as tx:
        found: Payment = (await tx.payment_work.by_ids([payment.id]))[payment.id]
    return found


async def _settle(shop: Shop, outcome: Outcome) -> None:
    service = SettlementService(shop.begin, RecordingAnnouncer(), FakeClock(), SettlementPolicy())
    assert await service.settle([outcome]) == [True]
