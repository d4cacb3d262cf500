"""An order on the real database, its payment, a refund and a dispute, all of which a trace explains."""

from decimal import Decimal

import pytest

from domain.disputes.model import DisputeStatus
from domain.orders.model import Order
from domain.payments.model import Payment
from domain.refunds.model import Refund
from domain.settlement.answers import StripeTransaction
from domain.settlement.disputes import DisputeSettlement
from domain.settlement.model import SettlementPolicy
from domain.settlement.refunds import RefundSettlement
from domain.traces.service import TraceService
from tests.builders import NOW, Begin, Shop, a_dispute, a_requested_refund
from tests.captured import captured
from tests.domain.fakes import FakeClock
from tests.stripe_answers import disputed, refunded


@pytest.fixture
def traces(begin: Begin) -> TraceService:
    return TraceService(begin)


@pytest.fixture
async def order(shop: Shop) -> Order:
    return await shop.order()


@pytest.fixture
async def payment(shop: Shop, order: Order) -> Payment:
    """A payment that was settled in another currency, refunded in part and disputed for the rest."""
    exchanged = StripeTransaction(f"txn_{order.id}", 2199, 94, "EUR", Decimal("1.1"))
    return await captured(shop, order, transaction=exchanged)


@pytest.fixture
async def refund(shop: Shop, payment: Payment) -> Refund:
    refund = a_requested_refund(payment, shop)
    async with shop.begin() as tx:
        await tx.refunds.add([refund], publish_at=NOW)
        await tx.commit()
    await RefundSettlement(shop.begin, FakeClock(), SettlementPolicy()).settle(refund.id, refunded(refund))
    return refund


@pytest.fixture
async def dispute_id(shop: Shop, payment: Payment, refund: Refund) -> str:
    dispute = a_dispute(payment, amount_minor=payment.captured_minor - refund.amount_minor)
    told = disputed(dispute, DisputeStatus.NEEDS_RESPONSE, -dispute.amount_minor)
    assert await DisputeSettlement(shop.begin, FakeClock(), SettlementPolicy()).settle(payment.id, told)
    return dispute.stripe_dispute_id
