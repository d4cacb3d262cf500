"""The contract of the repositories, in PostgreSQL and in memory: orders, their stock and their shipments."""

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.catalog.model import Product
from domain.errors import Refused
from domain.identity.model import Principal, Role
from domain.ids import OrderId, UserId, uuid7
from domain.ledger.postings import Part
from domain.orders.model import Order, OrderStatus, Shipment, StockGone
from domain.pages import PageRequest
from domain.payments.model import Payment, PaymentStatus
from domain.refunds.model import RefundStatus
from domain.settlement.model import PaymentChange, SettlementPolicy
from domain.settlement.refunds import RefundSettlement
from tests.builders import NOW, Begin, Shop, a_line, a_requested_refund, an_order, principal
from tests.captured import captured
from tests.db.contracts.reading import LATER, read_all
from tests.domain.fakes import FakeClock
from tests.stripe_answers import refunded


async def test_order_comes_back_with_its_lines(any_begin: Begin, shop: Shop) -> None:
    order = await shop.order(shop.other_product, shop.product)

    async with any_begin() as tx:
        assert await tx.orders.by_key(shop.buyer.id, order.idempotency_key) == order
        assert await tx.orders.by_key(shop.seller.id, order.idempotency_key) is None
        assert await tx.orders.lock([order.id, OrderId(uuid7())]) == {order.id: order}
        assert not await tx.orders.add(replace(order, id=OrderId(uuid7())))


async def test_order_advances(any_begin: Begin, shop: Shop) -> None:
    order, other = await shop.order(), await shop.order()

    async with any_begin() as tx:
        await tx.orders.advance({order.id: OrderStatus.CANCELLED}, LATER)
        await tx.orders.advance({}, LATER)
        locked = await tx.orders.lock(sorted([order.id, other.id]))

    assert locked[order.id] == replace(order, status=OrderStatus.CANCELLED, updated_at=LATER)
    assert locked[other.id] == other


async def stock_of(begin: Begin, *products: Product) -> list[int]:
    async with begin() as tx:
        found = await tx.products.by_ids([product.id for product in products])
    return [found[product.id].stock for product in products]


async def test_order_takes_stock_and_gives_it_back_when_it_ends_unpaid(any_begin: Begin, shop: Shop) -> None:
    both = shop.product, shop.other_product
    before = await stock_of(any_begin, *both)
    orders = [await shop.order(*both, shop.product) for _ in range(3)]
    assert await stock_of(any_begin, *both) == [before[0] - 6, before[1] - 3]

    async with any_begin() as tx:
        await tx.orders.advance({orders[0].id: OrderStatus.CANCELLED, orders[1].id: OrderStatus.EXPIRED}, LATER)
        await tx.orders.advance({orders[0].id: OrderStatus.CANCELLED}, LATER)  # no step, and so nothing again
        await tx.commit()

    assert await stock_of(any_begin, *both) == [before[0] - 2, before[1] - 1]


async def test_order_beyond_the_stock_is_refused_and_takes_nothing(any_begin: Begin, shop: Shop) -> None:
    both = shop.product, shop.other_product
    before = await stock_of(any_begin, *both)
    lines = [a_line(product.seller_id, product_id=product.id) for product in both]
    order = an_order([lines[0], replace(lines[1], quantity=before[1] + 1)], buyer_id=shop.buyer.id)

    with pytest.raises(StockGone):
        async with any_begin() as tx:
            await tx.orders.add(order)

    async with any_begin() as tx:
        assert await tx.orders.by_key(order.buyer_id, order.idempotency_key) is None
    assert await stock_of(any_begin, *both) == before


async def test_due_orders_are_found_and_locked(any_begin: Begin, shop: Shop) -> None:
    never, later = await shop.order(), await shop.order(due_at=LATER)
    now, long_ago = await shop.order(due_at=NOW), await shop.order(due_at=NOW - timedelta(days=9))
    ours = {never.id, later.id, now.id, long_ago.id}

    async with any_begin() as tx:
        due = await tx.orders.due(NOW, limit=100_000)
        assert [order_id for order_id in due if order_id in ours] == [long_ago.id, now.id]
        assert await tx.orders.due(NOW - timedelta(days=8), limit=1) == [long_ago.id]
        assert await tx.orders.lock_due(sorted(ours), NOW) == sorted([now, long_ago], key=lambda order: order.id)
        await tx.orders.schedule({long_ago.id: None, now.id: LATER})
        assert await tx.orders.lock_due(sorted(ours), NOW) == []
        assert (await tx.orders.lock([now.id]))[now.id].due_at == LATER
        await tx.orders.schedule({})


async def paid(begin: Begin, order: Order, payment: Payment) -> Order:
    """Let an order be paid; the database believes it of a captured payment alone."""
    captured = replace(payment, status=PaymentStatus.SUCCEEDED, captured_minor=payment.amount_minor, fee_minor=0)
    async with begin() as tx:
        await tx.payment_work.save([PaymentChange(captured, None)])
        await tx.orders.advance({order.id: OrderStatus.PAID}, NOW)
        await tx.commit()
    return replace(order, status=OrderStatus.PAID, updated_at=NOW)


async def test_shipments_come_back_and_the_shipped_order_is_due(any_begin: Begin, shop: Shop) -> None:
    order = await shop.order(shop.product, shop.other_product, due_at=LATER)
    other = await shop.order()
    order = await paid(any_begin, order, await shop.payment(order))
    first = Shipment(order.id, shop.other_seller.id, "UPS", "2", NOW)
    second = Shipment(order.id, shop.seller.id, "DHL", "1", LATER)

    async with any_begin() as tx:
        assert (await tx.orders.lock([order.id]))[order.id].due_at == LATER
        await tx.shipments.add(second)
        await tx.shipments.add(first)
        assert await tx.shipments.of_orders([order.id, other.id]) == {order.id: [first, second], other.id: []}
        assert await tx.shipments.of_orders([]) == {}
        await tx.orders.advance({order.id: OrderStatus.SHIPPED}, NOW)
        assert (await tx.orders.lock([order.id]))[order.id].due_at == NOW


@pytest.mark.parametrize("wrong", ["not paid", "no line", "twice"])
async def test_shipment_that_cannot_be_is_refused(any_begin: Begin, shop: Shop, wrong: str) -> None:
    order = await shop.order()
    if wrong != "not paid":
        await paid(any_begin, order, await shop.payment(order))
    seller = shop.other_seller if wrong == "no line" else shop.seller
    shipment = Shipment(order.id, seller.id, "UPS", "2", NOW)

    async def add() -> None:
        async with any_begin() as tx:
            for _ in range(2):
                await tx.shipments.add(shipment)

    with pytest.raises(Refused):
        await add()


@pytest.mark.parametrize("then", [OrderStatus.SHIPPED, OrderStatus.COMPLETED])
@pytest.mark.parametrize("outcome", [RefundStatus.SUCCEEDED, RefundStatus.FAILED])
async def test_order_that_went_on_without_a_seller_takes_its_shipment_where_its_refund_failed(
    any_begin: Begin, shop: Shop, outcome: RefundStatus, then: OrderStatus
) -> None:
    payment = await captured(shop, await shop.order(shop.product, shop.other_product))
    order_id = OrderId(payment.order_id)
    refund = a_requested_refund(payment, shop, 501, lines=(Part(2, shop.other_seller.id, 501, 13),))
    settlement = RefundSettlement(any_begin, FakeClock(), SettlementPolicy())
    async with any_begin() as tx:
        await tx.refunds.add([refund], publish_at=NOW)
        await tx.commit()
    await settlement.settle(refund.id, refunded(refund))
    first, second = (Shipment(order_id, seller.id, "UPS", "2", NOW) for seller in (shop.seller, shop.other_seller))
    async with any_begin() as tx:
        await tx.shipments.add(first)
        for status in (OrderStatus.SHIPPED, then):
            await tx.orders.advance({order_id: status}, NOW)
        await tx.commit()
    await settlement.settle(refund.id, refunded(refund, outcome))

    async def add() -> None:
        async with any_begin() as tx:
            await tx.shipments.add(second)
            await tx.commit()

    if outcome is RefundStatus.SUCCEEDED:
        with pytest.raises(Refused):
            await add()
    else:
        await add()


async def test_pages_of_orders_of_one_state(any_begin: Begin, shop: Shop, finance: Principal) -> None:
    orders = [await shop.order() for _ in range(4)]
    async with any_begin() as tx:
        await tx.orders.advance({orders[1].id: OrderStatus.CANCELLED, orders[3].id: OrderStatus.CANCELLED}, NOW)
        for who in (principal(shop.buyer), principal(shop.seller), finance):
            rows = await read_all(lambda page, who=who: tx.orders.page(who, page, OrderStatus.CANCELLED), 1)
            assert [row.id for row in rows if row.id in {order.id for order in orders}] == [
                orders[3].id,
                orders[1].id,
            ]


async def test_live_payment_of_an_order_is_known_by_its_state(any_begin: Begin, shop: Shop) -> None:
    unpaid, paying, failed = [await shop.order() for _ in range(3)]
    await shop.payment(paying)
    dead = replace(await shop.payment(failed), status=PaymentStatus.FAILED, failure_code="expired_card")

    async with any_begin() as tx:
        await tx.payment_work.save([PaymentChange(dead, None)])
        found = await tx.orders.live_payments([unpaid.id, paying.id, failed.id])

    assert found == {paying.id: "pending"}


async def test_orders_are_visible_to_those_they_concern(any_begin: Begin, shop: Shop, finance: Principal) -> None:
    order = await shop.order()
    admin = Principal(UserId(uuid7()), Role.ADMIN)
    stranger = Principal(UserId(uuid7()), Role.BUYER)

    async with any_begin() as tx:
        for who in (principal(shop.buyer), principal(shop.seller), finance, admin):
            assert await tx.orders.visible(who, order.id) == order
        for who in (principal(shop.other_seller), stranger):
            assert await tx.orders.visible(who, order.id) is None
        assert await tx.orders.visible(finance, OrderId(uuid7())) is None


async def test_pages_of_orders_are_complete_and_stable(any_begin: Begin, shop: Shop, finance: Principal) -> None:
    mixed = [await shop.order(shop.product, shop.other_product) for _ in range(3)]
    single = [await shop.order() for _ in range(2)]
    newest_first = [*mixed, *single][::-1]

    async with any_begin() as tx:
        assert await read_all(lambda request: tx.orders.page(principal(shop.buyer), request), 2) == newest_first
        assert await read_all(lambda request: tx.orders.page(principal(shop.seller), request), 2) == newest_first
        assert await read_all(lambda r: tx.orders.page(principal(shop.other_seller), r), 1) == mixed[::-1]
        everything = await read_all(lambda request: tx.orders.page(finance, request), 100)
        first = await tx.orders.page(principal(shop.buyer), PageRequest(2))
    await shop.order()
    async with any_begin() as tx:
        second = await tx.orders.page(principal(shop.buyer), PageRequest(2, first.next_after))

    assert [order for order in everything if order in newest_first] == newest_first
    assert [*first.rows, *second.rows] == newest_first[:4]


@pytest.mark.parametrize("interruption", [OrderStatus.REFUNDED, OrderStatus.DISPUTED])
async def test_interrupted_order_remembers_where_it_was(
    any_begin: Begin, shop: Shop, interruption: OrderStatus
) -> None:
    payment = await captured(shop, await shop.order())
    assert payment.order_id is not None
    seen = []

    async with any_begin() as tx:
        await tx.shipments.add(Shipment(payment.order_id, shop.seller.id, "DHL", "1", LATER))
        for status in (OrderStatus.SHIPPED, OrderStatus.DISPUTED, interruption, OrderStatus.SHIPPED):
            await tx.orders.advance({payment.order_id: status}, LATER)
            order = (await tx.orders.lock([payment.order_id]))[payment.order_id]
            seen.append((order.status, order.resumes_as))

    assert seen == [
        (OrderStatus.SHIPPED, None),
        (OrderStatus.DISPUTED, OrderStatus.SHIPPED),
        (interruption, OrderStatus.SHIPPED),
        (OrderStatus.SHIPPED, None),
    ]
