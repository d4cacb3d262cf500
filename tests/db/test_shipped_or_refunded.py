"""An order of two sellers, of which one ships and the other sends the money back, on the real database."""

import pytest

from db.unit_of_work import Database
from domain.errors import Conflict, Refused
from domain.fulfilment.deadlines import OrderDeadlines
from domain.fulfilment.service import OrderService
from domain.identity.model import Role
from domain.ids import OrderId
from domain.ledger.postings import Part
from domain.orders.model import OrderStatus, Shipment
from domain.payments.model import Payment
from domain.refunds.model import Refund, RefundRequest, RefundStatus
from domain.refunds.rules import RefundPolicy
from domain.refunds.service import RefundService
from domain.settlement.model import SettlementPolicy
from domain.settlement.refunds import RefundSettlement
from tests.builders import Shop, a_product, a_requested_refund, a_user, principal, unique
from tests.captured import captured
from tests.domain.fakes import FakeClock, RecordingAnnouncer
from tests.stripe_answers import refunded


@pytest.fixture
async def payment(real_shop: Shop) -> Payment:
    """A paid order of both sellers' products."""
    return await captured(real_shop, await real_shop.order(real_shop.product, real_shop.other_product))


async def refund_other_seller(database: Database, shop: Shop, payment: Payment, clock: FakeClock) -> Refund:
    refund = a_requested_refund(payment, shop, 501, lines=(Part(2, shop.other_seller.id, 501, 13),))
    async with database.begin() as tx:
        assert await tx.refunds.add([refund], publish_at=refund.created_at)
        await tx.commit()
    assert await RefundSettlement(database.begin, clock, SettlementPolicy()).settle(refund.id, refunded(refund))
    return refund


async def fail(database: Database, refund: Refund, clock: FakeClock) -> None:
    failed = refunded(refund, RefundStatus.FAILED, failure_code="expired_or_canceled_card")
    assert await RefundSettlement(database.begin, clock, SettlementPolicy()).settle(refund.id, failed)


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


async def test_order_goes_on_without_who_keeps_less_than_stripe_moves(database: Database, real_shop: Shop) -> None:
    """Of 10,000 fils a refund of all lines in proportion takes 33, and of the rest 7 cannot go back."""
    finance, sellers = a_user(Role.FINANCE), (real_shop.seller, real_shop.other_seller)
    products = [
        a_product(seller.id, price_minor=price_minor, currency="KWD")
        for seller, price_minor in zip(sellers, (20_000, 10_000), strict=True)
    ]
    async with database.begin() as tx:
        await tx.users.add(finance)
        for product in products:
            await tx.products.add(product)
        await tx.commit()
    payment = await captured(real_shop, await real_shop.order(*products, currency="KWD"))
    clock = FakeClock()
    policy = RefundPolicy(direct_hold_s=7 * 86_400, republish_after_s=30)
    asking = RefundService(database.begin, RecordingAnnouncer(), clock, policy)
    settling = RefundSettlement(database.begin, clock, SettlementPolicy())
    taken = []
    for who, amount_minor in ((finance, 100), (real_shop.other_seller, None)):
        request = RefundRequest(payment.id, unique("key"), "too small", amount_minor)
        refund = (await asking.request(principal(who), request)).refund
        await settling.settle(refund.id, refunded(refund))
        taken.append([line.amount_minor for line in refund.lines])

    view = await OrderService(database.begin, clock).ship(
        principal(real_shop.seller), OrderId(payment.order_id), carrier="DHL", tracking_number="1"
    )

    assert taken == [[67, 33], [9960]]
    assert view.order.status is OrderStatus.SHIPPED


async def test_database_refuses_an_order_that_somebody_has_yet_to_ship(
    database: Database, real_shop: Shop, payment: Payment
) -> None:
    orders, order_id = OrderService(database.begin, FakeClock()), OrderId(payment.order_id)
    await orders.ship(principal(real_shop.seller), order_id, carrier="DHL", tracking_number="1")

    with pytest.raises(Refused):
        async with database.begin() as tx:
            await tx.orders.advance({order_id: OrderStatus.SHIPPED}, payment.created_at)


async def test_order_waits_for_a_seller_whose_refund_failed_after_it_was_shipped(
    database: Database, real_shop: Shop, payment: Payment
) -> None:
    clock = FakeClock()
    orders, order_id = OrderService(database.begin, clock), OrderId(payment.order_id)
    deadlines = OrderDeadlines(database.begin, clock, completes_after_s=0)
    refund = await refund_other_seller(database, real_shop, payment, clock)
    await orders.ship(principal(real_shop.seller), order_id, carrier="DHL", tracking_number="1")
    await fail(database, refund, clock)

    await deadlines.enforce()
    with pytest.raises(Conflict) as refusal:
        await orders.complete(principal(real_shop.buyer), order_id)
    waiting = (await orders.get(principal(real_shop.buyer), order_id)).order
    shipped = await orders.ship(principal(real_shop.other_seller), order_id, carrier="UPS", tracking_number="2")
    await deadlines.enforce()
    completed = await orders.get(principal(real_shop.buyer), order_id)

    assert refusal.value.code == "seller_yet_to_ship"
    assert (waiting.status, waiting.due_at) == (OrderStatus.SHIPPED, None)
    assert (shipped.order.status, shipped.order.due_at) == (OrderStatus.SHIPPED, clock.now())
    assert completed.order.status is OrderStatus.COMPLETED
    assert completed.shipments == shipped.shipments


async def test_database_refuses_that_an_order_completes_which_somebody_has_yet_to_ship(
    database: Database, real_shop: Shop, payment: Payment
) -> None:
    clock = FakeClock()
    orders, order_id = OrderService(database.begin, clock), OrderId(payment.order_id)
    refund = await refund_other_seller(database, real_shop, payment, clock)
    await orders.ship(principal(real_shop.seller), order_id, carrier="DHL", tracking_number="1")
    await fail(database, refund, clock)

    with pytest.raises(Refused):
        async with database.begin() as tx:
            await tx.orders.advance({order_id: OrderStatus.COMPLETED}, payment.created_at)


async def test_database_does_not_take_a_refund_of_who_has_shipped_for_one_of_who_has_yet_to(
    database: Database, real_shop: Shop, payment: Payment
) -> None:
    clock, order_id = FakeClock(), OrderId(payment.order_id)
    await OrderService(database.begin, clock).ship(
        principal(real_shop.seller), order_id, carrier="DHL", tracking_number="1"
    )
    refund = a_requested_refund(payment, real_shop)
    async with database.begin() as tx:
        await tx.refunds.add([refund], publish_at=refund.created_at)
        await tx.commit()
    assert await RefundSettlement(database.begin, clock, SettlementPolicy()).settle(refund.id, refunded(refund))

    with pytest.raises(Refused, match="has yet to ship"):
        async with database.begin() as tx:
            await tx.orders.advance({order_id: OrderStatus.SHIPPED}, payment.created_at)


async def test_database_lets_a_seller_ship_late_for_a_refund_of_its_own_alone(
    database: Database, real_shop: Shop, payment: Payment
) -> None:
    clock, order_id = FakeClock(), OrderId(payment.order_id)
    await refund_other_seller(database, real_shop, payment, clock)
    await OrderService(database.begin, clock).ship(
        principal(real_shop.seller), order_id, carrier="DHL", tracking_number="1"
    )
    of_shipper = a_requested_refund(payment, real_shop)
    async with database.begin() as tx:
        await tx.refunds.add([of_shipper], publish_at=of_shipper.created_at)
        await tx.commit()
    await fail(database, of_shipper, clock)

    with pytest.raises(Refused, match="no refund of it failed"):
        async with database.begin() as tx:
            await tx.shipments.add(Shipment(order_id, real_shop.other_seller.id, "UPS", "2", clock.now()))
