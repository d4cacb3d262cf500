"""Stock on the real database: it follows the orders, whoever moves them, and is never less than nothing."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.sql import Sql
from db.unit_of_work import Database
from domain.catalog.model import Product
from domain.fulfilment.deadlines import OrderDeadlines
from domain.identity.model import Role
from domain.ids import ProductId
from domain.orders.checkout import Checkout, PlacedOrder
from domain.orders.draft import OrderItem
from domain.orders.model import Order, OrderStatus, OutOfStock
from domain.payments.service import PaymentService
from domain.settlement.answers import Refusal
from domain.settlement.model import Outcome
from domain.settlement.service import SettlementService
from tests.builders import NOW, ORDER_POLICY, Begin, Shop, a_product, a_request, a_user, principal
from tests.domain.fakes import FakeCarts, FakeClock
from tests.stripe_answers import succeeded

GIVE_UP = Refusal("card_declined")


@pytest.fixture
def checkout(database: Database, clock: FakeClock) -> Checkout:
    return Checkout(database.begin, FakeCarts(), clock, ORDER_POLICY)


async def offer(shop: Shop, **changes: object) -> Product:
    product = a_product(shop.seller.id, **changes)
    async with shop.begin() as tx:
        await tx.products.add(product)
        await tx.commit()
    return product


async def stock_of(begin: Begin, product_id: ProductId) -> int:
    async with begin() as tx:
        return int((await tx.products.by_ids([product_id]))[product_id].stock)


async def status_of(begin: Begin, order: Order) -> OrderStatus:
    async with begin() as tx:
        found: Order = (await tx.orders.lock([order.id]))[order.id]
    return found.status


async def test_200_buyers_race_for_10_pieces(database: Database, checkout: Checkout, real_shop: Shop) -> None:
    product = await offer(real_shop, stock=10)
    buyers = [a_user(Role.BUYER) for _ in range(200)]
    async with database.begin() as tx:
        for buyer in buyers:
            await tx.users.add(buyer)
        await tx.commit()

    async with asyncio.timeout(60):
        answers = await asyncio.gather(
            *(checkout.place(principal(buyer), "key", [OrderItem(product.id, 1)]) for buyer in buyers),
            return_exceptions=True,
        )

    assert Counter(type(answer) for answer in answers) == {PlacedOrder: 10, OutOfStock: 190}
    assert await stock_of(database.begin, product.id) == 0


async def test_nobody_writes_a_stock_below_zero(
    superuser: AsyncConnection, database: Database, real_shop: Shop
) -> None:
    with pytest.raises(IntegrityError, match="products_stock_check"):
        await superuser.execute(text("UPDATE products SET stock = -1"))


async def test_hand_that_ends_an_order_gives_its_stock_back_once(
    begin: Begin, connection: AsyncConnection, shop: Shop
) -> None:
    orders = [await shop.order() for _ in range(3)]
    before = await stock_of(begin, shop.product.id)
    cancel = text("UPDATE orders SET status = 'cancelled', updated_at = now() WHERE id = ANY(:ids)")

    for _ in range(2):
        await connection.execute(cancel, {"ids": [order.id for order in orders[:2]]})

    assert await stock_of(begin, shop.product.id) == before + 2


async def test_paying_touches_no_product(
    database: Database, real_shop: Shop, real_settlement: SettlementService
) -> None:
    """A checkout that holds a hot product does not hold payments up, not even those of that product."""
    order = await real_shop.order()
    payment = await real_shop.payment(order)
    before = await stock_of(database.begin, real_shop.product.id)

    async with database.begin() as tx, asyncio.timeout(60):
        await tx._connection.execute(
            Sql("SELECT FROM products WHERE id = :id FOR UPDATE"), {"id": real_shop.product.id}
        )
        assert await real_settlement.settle([Outcome(payment.id, succeeded(payment))]) == [True]

    assert await status_of(database.begin, order) is OrderStatus.PAID
    assert await stock_of(database.begin, real_shop.product.id) == before


async def test_late_success_of_an_expired_order_takes_nothing_and_is_refunded(
    begin: Begin, clock: FakeClock, shop: Shop, settlement: SettlementService
) -> None:
    before = await stock_of(begin, shop.product.id)
    order = await shop.order(due_at=NOW)
    payment = await shop.payment(order)
    await settlement.settle([Outcome(payment.id, GIVE_UP)])
    assert await stock_of(begin, shop.product.id) == before - 1

    await OrderDeadlines(begin, clock, completes_after_s=100).enforce()
    assert await stock_of(begin, shop.product.id) == before
    assert await settlement.settle([Outcome(payment.id, succeeded(payment))]) == [True]

    assert await status_of(begin, order) is OrderStatus.EXPIRED
    assert await stock_of(begin, shop.product.id) == before
    async with begin() as tx:
        events = [event.type for event in (await tx.events.of_subject(payment.id)).rows]
    assert events == ["payment.failed", "payment.captured_late"]


async def test_late_success_in_time_pays_the_order_that_still_holds_its_stock(
    begin: Begin, shop: Shop, settlement: SettlementService
) -> None:
    before = await stock_of(begin, shop.product.id)
    order = await shop.order()
    payment = await shop.payment(order)

    await settlement.settle([Outcome(payment.id, GIVE_UP)])
    await settlement.settle([Outcome(payment.id, succeeded(payment))])

    assert await status_of(begin, order) is OrderStatus.PAID
    assert await stock_of(begin, shop.product.id) == before - 1


async def test_order_whose_payment_comes_while_it_is_due_does_not_expire(
    database: Database,
    clock: FakeClock,
    real_shop: Shop,
    real_payments: PaymentService,
    blocked: Callable[[int], Awaitable[None]],
) -> None:
    """The lock decides: who pays first keeps the order, and the sweep comes back later."""
    order = await real_shop.order(due_at=NOW)

    async with database.begin() as other:
        await other.orders.lock([order.id])
        paying = asyncio.create_task(real_payments.accept([a_request(order)]))
        await blocked(1)
        await OrderDeadlines(database.begin, clock, completes_after_s=100).enforce()
        assert await status_of_unlocked(database, order) == "pending"
    await paying
    await OrderDeadlines(database.begin, clock, completes_after_s=100).enforce()

    assert await status_of(database.begin, order) is OrderStatus.PENDING
    async with database.begin() as tx:
        assert (await tx.orders.lock([order.id]))[order.id].due_at > clock.now()


async def status_of_unlocked(database: Database, order: Order) -> str:
    async with database.begin() as tx:
        read = await tx._connection.execute(Sql("SELECT status FROM orders WHERE id = :id"), {"id": order.id})
        return str(read.scalar_one())


async def test_many_at_once_neither_wait_for_ever_nor_lose_a_piece(
    database: Database,
    clock: FakeClock,
    checkout: Checkout,
    real_shop: Shop,
    real_payments: PaymentService,
    real_settlement: SettlementService,
) -> None:
    """Checkouts, payments, settlements and sweeps over the same few products, in every order of lines."""
    rng = Random(4)
    products = [await offer(real_shop, stock=30) for _ in range(4)]
    buyer = principal(real_shop.buyer)
    deadlines = OrderDeadlines(database.begin, clock, completes_after_s=100, batch_size=7)

    async def buy(number: int) -> PlacedOrder | None:
        items = [OrderItem(product.id, rng.randint(1, 2)) for product in rng.sample(products, 3)]
        try:
            placed = await checkout.place(buyer, f"key {number}", items)
        except OutOfStock:
            return None
        if number % 3 == 0:
            (accepted,) = await real_payments.accept([a_request(placed.order)])
            payment = accepted.payment  # type: ignore[union-attr]
            await real_settlement.settle([Outcome(payment.id, succeeded(payment))])
        elif number % 3 == 1:
            async with database.begin() as tx:
                await tx.orders.lock([placed.order.id])
                await tx.orders.schedule({placed.order.id: clock.now()})
                await tx.commit()
            await deadlines.enforce()
        return placed

    async with asyncio.timeout(60):
        placed = [order for order in await asyncio.gather(*map(buy, range(60))) if order is not None]
    await deadlines.enforce()

    held: Counter[ProductId] = Counter()
    for order in placed:
        if await status_of(database.begin, order.order) is not OrderStatus.EXPIRED:
            held.update({line.product_id: line.quantity for line in order.order.lines})
    assert {product.id: await stock_of(database.begin, product.id) for product in products} == {
        product.id: 30 - held[product.id] for product in products
    }


async def test_order_expires_however_much_its_product_has_by_then(
    database: Database, clock: FakeClock, real_shop: Shop
) -> None:
    orders = [await real_shop.order(due_at=NOW) for _ in range(2)]
    # As its seller can by filling it up while orders hold it, a million pieces at a time.
    fill = Sql("UPDATE products SET stock = 2147483646 WHERE id = :id")
    async with database.begin() as tx:
        await tx._connection.execute(fill, {"id": real_shop.product.id})
        await tx.commit()

    await OrderDeadlines(database.begin, clock, completes_after_s=100).enforce()

    assert {await status_of(database.begin, order) for order in orders} == {OrderStatus.EXPIRED}
    assert await stock_of(database.begin, real_shop.product.id) == 2**31 - 1


async def test_two_sweeps_expire_an_order_once(
    database: Database, clock: FakeClock, real_shop: Shop, real_settlement: SettlementService
) -> None:
    before = await stock_of(database.begin, real_shop.product.id)
    orders = [await real_shop.order(due_at=NOW) for _ in range(20)]
    sweeps = [OrderDeadlines(database.begin, clock, completes_after_s=100, batch_size=6) for _ in range(4)]

    async with asyncio.timeout(30):
        await asyncio.gather(*(sweep.enforce() for sweep in sweeps))
    await sweeps[0].enforce()

    assert await stock_of(database.begin, real_shop.product.id) == before
    async with database.begin() as tx:
        for order in orders:
            assert [event.type for event in (await tx.events.of_subject(order.id)).rows] == ["order.expired"]


async def test_stock_is_taken_without_touching_an_index(
    database: Database, real_shop: Shop, owner_engine: AsyncEngine
) -> None:
    product = a_product(real_shop.seller.id)
    async with database.begin() as tx:
        await tx.products.add(product)
        await tx.commit()
    updates = text("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'products'")

    async with owner_engine.connect() as connection:
        await connection.execute(text("UPDATE products SET stock = stock - 1 WHERE id = :id"), {"id": product.id})
        updated, in_place = (await connection.execute(updates)).one()
        await connection.rollback()

    assert (updated, in_place) == (1, 1)
