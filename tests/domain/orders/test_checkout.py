from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain.errors import DomainError, Forbidden, IdempotencyMismatch, Invalid
from domain.identity.model import Principal, Role
from domain.ids import ProductId, UserId, uuid7
from domain.orders.checkout import Checkout
from domain.orders.draft import OrderItem
from domain.orders.model import Order, OrderStatus, OutOfStock, StockGone
from tests.builders import NOW, ORDER_POLICY, Begin, Shop, a_product, principal
from tests.domain.fakes import FakeCarts, FakeClock, FakeOrders, Memory, MemoryUnitOfWork


@pytest.fixture
def checkout(memory: Memory, carts: FakeCarts, clock: FakeClock) -> Checkout:
    return Checkout(memory.begin, carts, clock, ORDER_POLICY)


async def test_placed_order_holds_the_prices_and_commissions_of_the_moment(
    checkout: Checkout, memory: Memory, clock: FakeClock, shop: Shop
) -> None:
    memory.state.rates[shop.other_seller.id] = 1000
    items = [OrderItem(shop.product.id, 2), OrderItem(shop.other_product.id, 1)]

    placed = await checkout.place(principal(shop.buyer), "key", items)

    order = placed.order
    assert not placed.replayed
    assert (order.status, order.amount_minor, order.currency) == (OrderStatus.PENDING, 2 * 1999 + 501, "USD")
    assert [(line.line, line.seller_id, line.amount_minor, line.commission_bps) for line in order.lines] == [
        (1, shop.seller.id, 3998, 250),
        (2, shop.other_seller.id, 501, 1000),
    ]
    (told,) = memory.state.events
    assert (told.type, told.subject_id) == ("order.placed", order.id)
    assert set(told.audience) == {shop.buyer.id, shop.seller.id, shop.other_seller.id}
    assert memory.state.orders[order.id] == order
    assert order.due_at == clock.now() + timedelta(seconds=ORDER_POLICY.ttl_s)


async def test_same_key_and_items_replay_the_order(checkout: Checkout, memory: Memory, shop: Shop) -> None:
    items = [OrderItem(shop.product.id, 1)]
    first = await checkout.place(principal(shop.buyer), "key", items)
    memory.state.products[shop.product.id] = replace(shop.product, stock=0)

    second = await checkout.place(principal(shop.buyer), "key", items)

    assert second.replayed
    assert second.order == first.order
    assert len(memory.state.events) == 1


async def test_same_key_and_other_items_are_a_mismatch(checkout: Checkout, shop: Shop) -> None:
    await checkout.place(principal(shop.buyer), "key", [OrderItem(shop.product.id, 1)])

    with pytest.raises(IdempotencyMismatch):
        await checkout.place(principal(shop.buyer), "key", [OrderItem(shop.product.id, 2)])


@pytest.mark.parametrize(
    ("change", "kind", "code"),
    [
        ({"stock": 1}, OutOfStock, "insufficient_stock"),
        ({"currency": "EUR"}, Invalid, "currencies_mixed"),
        ({"price_minor": 99_999_999}, Invalid, "amount_out_of_range"),
        ({"withdrawn_at": NOW}, Invalid, "product_not_found"),
        (None, Invalid, "product_not_found"),
    ],
)
async def test_order_that_cannot_be_fulfilled_is_refused(
    checkout: Checkout,
    memory: Memory,
    shop: Shop,
    change: dict[str, Any] | None,
    kind: type[DomainError],
    code: str,
) -> None:
    product = a_product(shop.seller.id, **(change or {}))
    if change is not None:
        memory.state.products[product.id] = product
    items = [OrderItem(shop.product.id, 1), OrderItem(product.id, 2)]

    with pytest.raises(kind) as refusal:
        await checkout.place(principal(shop.buyer), "key", items)

    assert refusal.value.code == code
    assert memory.state.orders == {}
    assert memory.state.events == []


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.BUYER])
async def test_buyers_alone_place_orders(checkout: Checkout, role: Role) -> None:
    with pytest.raises(Forbidden):
        await checkout.place(Principal(UserId(uuid7()), role), "key", [OrderItem(ProductId(uuid7()), 1)])


async def test_order_takes_the_stock_of_its_lines(checkout: Checkout, memory: Memory, shop: Shop) -> None:
    await checkout.place(principal(shop.buyer), "key", [OrderItem(shop.product.id, 3)])

    assert memory.state.products[shop.product.id].stock == shop.product.stock - 3


async def test_refusal_names_every_product_of_which_too_little_is_left(
    checkout: Checkout, memory: Memory, shop: Shop
) -> None:
    scarce = [a_product(shop.seller.id, stock=stock) for stock in (0, 1)]
    memory.state.products |= {product.id: product for product in scarce}
    items = [OrderItem(product.id, 2) for product in (*scarce, shop.product)]

    with pytest.raises(OutOfStock) as refusal:
        await checkout.place(principal(shop.buyer), "key", items)

    assert refusal.value.facts["products"] == [
        {"product_id": str(scarce[0].id), "quantity": 2, "stock": 0},
        {"product_id": str(scarce[1].id), "quantity": 2, "stock": 1},
    ]


class SnatchedOrders(FakeOrders):
    """Others take the last pieces between the look and the grasp."""

    async def add(self, order: Order) -> bool:
        raise StockGone("not enough of a product is left")


def snatched(memory: Memory, times: int) -> Begin:
    """Begin transactions in the first of which others are faster."""
    left = iter(range(times))

    @asynccontextmanager
    async def begin() -> AsyncIterator[MemoryUnitOfWork]:
        async with memory.begin() as tx:
            if next(left, None) is not None:
                tx.orders = SnatchedOrders(tx._state)
            yield tx

    return begin


async def test_order_is_tried_again_when_others_were_faster(memory: Memory, clock: FakeClock, shop: Shop) -> None:
    """What they took may have come back; if not, the next look says what is left."""
    items = [OrderItem(shop.product.id, 1)]
    checkout = Checkout(snatched(memory, 2), FakeCarts(), clock, ORDER_POLICY)

    placed = await checkout.place(principal(shop.buyer), "key", items)

    assert list(memory.state.orders) == [placed.order.id]
    assert [event.subject_id for event in memory.state.events] == [placed.order.id]


async def test_order_is_not_tried_for_ever(memory: Memory, clock: FakeClock, shop: Shop) -> None:
    checkout = Checkout(snatched(memory, 1_000), FakeCarts(), clock, ORDER_POLICY)

    with pytest.raises(OutOfStock) as refusal:
        await checkout.place(principal(shop.buyer), "key", [OrderItem(shop.product.id, 1)])

    assert refusal.value.code == "insufficient_stock"
    assert memory.state.orders == {}
