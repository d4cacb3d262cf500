"""An order of two sellers, of which one ships and the other sends the money back, on the real database."""

import pytest

from db.unit_of_work import Database
from domain.errors import Refused
from domain.ids import OrderId
from domain.ledger.postings import Part
from domain.orders.model import OrderStatus
from domain.orders.service import OrderService
from domain.payments.model import Payment
from domain.settlement.model import SettlementPolicy
from domain.settlement.refunds import RefundSettlement
from tests.builders import Shop, a_requested_refund, principal
from tests.captured import captured
from tests.domain.fakes import FakeClock
from tests.stripe_answers import refunded


@pytest.fixture
async def payment(real_shop: Shop) -> Payment:
    """A paid order of both sellers' products."""
    return await captured(real_shop, await real_shop.order(real_shop.product, real_shop.other_product))


async def refund_other_seller(database: Database, shop: Shop, payment: Payment, clock: FakeClock) -> None:
    refund = a_requested_refund(payment, shop, 501, lines=(Part(2, shop.other_seller.id, 501, 13),))
    async with database.begin() as tx:
        assert await tx.refunds.add([refund], publish_at=refund.created_at)
        await tx.commit()
    assert await RefundSettlement(database.begin, clock, SettlementPolicy()).settle(refund.id, refunded(refund))


@pytest.mark.parametrize("refunded_first", [False, True])
async def test_order_goes_on_without_who_is_refunded(
    database: Database, real_shop: Shop, payment: Payment, *, refunded_first: bool
) -> None:
    clock = FakeClock()
    orders, order_id = OrderService(database.begin, clock), OrderId(payment.order_id)
    if refunded_first:
        await refund_other_seller(database, real_shop, payment, clock)
    await orders.ship(principal(real_shop.seller), order_id, carrier="DHL", tracking_number="1")
    if not refunded_first:
        await refund_other_seller(database, real_shop, payment, clock)

    done = await orders.complete(principal(real_shop.buyer), order_id)

    assert done.order.status is OrderStatus.COMPLETED


async def test_database_refuses_an_order_that_somebody_has_yet_to_ship(
    database: Database, real_shop: Shop, payment: Payment
) -> None:
    orders, order_id = OrderService(database.begin, FakeClock()), OrderId(payment.order_id)
    await orders.ship(principal(real_shop.seller), order_id, carrier="DHL", tracking_number="1")

    with pytest.raises(Refused):
        async with database.begin() as tx:
            await tx.orders.advance({order_id: OrderStatus.SHIPPED}, payment.created_at)
