"""Placing orders on the real database."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.sql import Sql
from db.unit_of_work import Database
from domain.errors import IdempotencyMismatch, Refused
from domain.orders.checkout import Checkout, PlacedOrder
from domain.orders.draft import OrderItem
from domain.orders.model import Order, OrderStatus, OutOfStock
from domain.settlement.model import Outcome
from domain.settlement.service import SettlementService
from tests.builders import NOW, ORDER_POLICY, Begin, Shop, a_line, a_payment, an_order, principal
from tests.domain.fakes import FakeCarts, FakeClock
from tests.stripe_answers import succeeded


async def test_many_requests_with_one_key_place_one_order(
    database: Database, clock: FakeClock, real_shop: Shop
) -> None:
    checkout = Checkout(database.begin, FakeCarts(), clock, ORDER_POLICY)
    buyer = principal(real_shop.buyer)
    lamp, lamps = [OrderItem(real_shop.product.id, 1)], [OrderItem(real_shop.product.id, 2)]

    async with asyncio.timeout(30):
        answers = await asyncio.gather(
            *(checkout.place(buyer, "key", lamp) for _ in range(20)),
            *(checkout.place(buyer, "key", lamps) for _ in range(20)),
            return_exceptions=True,
        )

    placed = [answer for answer in answers if isinstance(answer, PlacedOrder)]
    assert len({answer.order.id for answer in placed}) == 1
    assert sorted(answer.replayed for answer in placed) == [False, *[True] * 19]
    assert [type(answer) for answer in answers].count(IdempotencyMismatch) == 20


class Overtaken:
    """Transactions in which another one is done between the first look at the orders and what follows."""

    def __init__(self, begin: Begin, meanwhile: Callable[[], Awaitable[object]]) -> None:
        self._begin = begin
        self._meanwhile = [meanwhile]

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Any]:
        async with self._begin() as tx:
            look, orders = tx.orders.by_key, tx.orders

            async def by_key(*key: Any) -> Order | None:
                found: Order | None = await look(*key)
                while self._meanwhile:
                    await self._meanwhile.pop()()
                return found

            orders.by_key = by_key
            yield tx


async def test_request_that_another_with_its_key_overtakes_gets_the_order_though_nothing_is_left(
    database: Database, clock: FakeClock, real_shop: Shop
) -> None:
    async with database.begin() as tx:
        product = await tx.products.lock(real_shop.product.id)
        assert product is not None
        await tx.products.save(replace(product, stock=1))
        await tx.commit()
    buyer, items = principal(real_shop.buyer), [OrderItem(product.id, 1)]
    first = Checkout(database.begin, FakeCarts(), clock, ORDER_POLICY)
    overtaken = Overtaken(database.begin, lambda: first.place(buyer, "key", items))

    answer = await Checkout(overtaken.begin, FakeCarts(), clock, ORDER_POLICY).place(buyer, "key", items)

    assert answer.replayed
    with pytest.raises(OutOfStock):
        await first.place(buyer, "another key", items)


async def test_lines_that_do_not_add_up_are_refused(begin: Begin, shop: Shop) -> None:
    line = a_line(shop.seller.id, 1999, product_id=shop.product.id)

    async def add() -> None:
        async with begin() as tx:
            await tx.orders.add(an_order([line], buyer_id=shop.buyer.id, amount_minor=2000))

    with pytest.raises(Refused, match="do not add up"):
        await add()


async def test_line_cannot_be_added_later(begin: Begin, shop: Shop) -> None:
    order = await shop.order()
    again = Sql(
        """
        INSERT INTO order_lines
        SELECT order_id, line + 1, product_id, seller_id, quantity, price_minor, commission_bps
        FROM order_lines WHERE order_id = :id
        """
    )

    async def add() -> None:
        async with begin() as tx:
            await tx.orders._connection.execute(again, {"id": order.id})

    with pytest.raises(Refused, match="do not add up"):
        await add()


async def test_paying_touches_no_index_of_the_orders(
    connection: AsyncConnection, shop: Shop, settlement: SettlementService
) -> None:
    """A new version that stays out of the indexes is heap-only, or went to another page for want of room."""
    payments = [await shop.payment(await shop.order(due_at=NOW)) for _ in range(3)]
    written = text(
        """
        SELECT pg_stat_get_xact_tuples_updated(t) AS all_of_them,
               pg_stat_get_xact_tuples_hot_updated(t) + pg_stat_get_xact_tuples_newpage_updated(t) AS in_no_index
        FROM CAST('orders' AS regclass) AS t
        """
    )

    # What the server has not yet counted of earlier transactions of this connection is in these figures, too.
    before = (await connection.execute(written)).one()

    await settlement.settle([Outcome(payment.id, succeeded(payment)) for payment in payments])

    after = (await connection.execute(written)).one()
    assert (after.all_of_them - before.all_of_them, after.in_no_index - before.in_no_index) == (3, 3)


async def test_order_does_not_end_under_a_payment_whose_program_forgot_to_lock_it(
    database: Database, real_shop: Shop, blocked: Callable[[int], Awaitable[None]]
) -> None:
    order = await real_shop.order()

    async with asyncio.timeout(30), database.begin() as payer:
        await payer.payments.add([a_payment(order)], publish_at=NOW)
        ending = asyncio.create_task(cancel(database, order))
        await blocked(1)
        await payer.commit()
        with pytest.raises(Refused):
            await ending


async def test_ending_order_takes_no_payment_whose_program_forgot_to_lock_it(
    database: Database, real_shop: Shop, blocked: Callable[[int], Awaitable[None]]
) -> None:
    order = await real_shop.order()

    async def pay() -> None:
        async with database.begin() as tx:
            await tx.payments.add([a_payment(order)], publish_at=NOW)
            await tx.commit()

    async with asyncio.timeout(30), database.begin() as ender:
        await ender.orders.advance({order.id: OrderStatus.CANCELLED}, NOW)
        paying = asyncio.create_task(pay())
        await blocked(1)
        await ender.commit()
        with pytest.raises(Refused):
            await paying


async def cancel(database: Database, order: Order) -> None:
    async with database.begin() as tx:
        await tx.orders.advance({order.id: OrderStatus.CANCELLED}, NOW)
        await tx.commit()
