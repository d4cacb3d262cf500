from dataclasses import replace
from typing import Any

import pytest

from domain.errors import Conflict, DomainError, Forbidden, IdempotencyMismatch, Invalid, NotFound
from domain.identity.model import Principal, Role
from domain.ids import OrderId, ProductId, UserId, uuid7
from domain.orders.model import OrderStatus
from domain.orders.service import OrderItem, OrderService
from domain.pages import PageRequest
from tests.builders import Shop, a_product, principal
from tests.domain.fakes import FakeClock, Memory


@pytest.fixture
def orders(memory: Memory, clock: FakeClock) -> OrderService:
    return OrderService(memory.begin, clock, commission_bps=250, max_amount_minor=99_999_999)


async def test_placed_order_holds_the_prices_and_commissions_of_the_moment(
    orders: OrderService, memory: Memory, shop: Shop
) -> None:
    memory.state.rates[shop.other_seller.id] = 1000
    items = [OrderItem(shop.product.id, 2), OrderItem(shop.other_product.id, 1)]

    placed = await orders.place(principal(shop.buyer), "key", items)

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
    assert await orders.get(principal(shop.buyer), order.id) == order


async def test_same_key_and_items_replay_the_order(orders: OrderService, memory: Memory, shop: Shop) -> None:
    items = [OrderItem(shop.product.id, 1)]
    first = await orders.place(principal(shop.buyer), "key", items)
    memory.state.products[shop.product.id] = replace(shop.product, stock=0)

    second = await orders.place(principal(shop.buyer), "key", items)

    assert second.replayed
    assert second.order == first.order
    assert len(memory.state.events) == 1


async def test_same_key_and_other_items_are_a_mismatch(orders: OrderService, shop: Shop) -> None:
    await orders.place(principal(shop.buyer), "key", [OrderItem(shop.product.id, 1)])

    with pytest.raises(IdempotencyMismatch):
        await orders.place(principal(shop.buyer), "key", [OrderItem(shop.product.id, 2)])


@pytest.mark.parametrize(
    ("change", "kind", "code"),
    [
        ({"stock": 1}, Conflict, "insufficient_stock"),
        ({"currency": "EUR"}, Invalid, "currencies_mixed"),
        ({"price_minor": 99_999_999}, Invalid, "amount_out_of_range"),
        (None, Invalid, "product_not_found"),
    ],
)
async def test_order_that_cannot_be_fulfilled_is_refused(
    orders: OrderService,
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
        await orders.place(principal(shop.buyer), "key", items)

    assert refusal.value.code == code
    assert memory.state.orders == {}
    assert memory.state.events == []


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.BUYER])
async def test_buyers_alone_place_orders(orders: OrderService, role: Role) -> None:
    with pytest.raises(Forbidden):
        await orders.place(Principal(UserId(uuid7()), role), "key", [OrderItem(ProductId(uuid7()), 1)])


async def test_other_peoples_order_is_not_there(orders: OrderService, shop: Shop) -> None:
    order = await shop.order()

    for who, order_id in ((shop.other_seller, order.id), (shop.buyer, OrderId(uuid7()))):
        with pytest.raises(NotFound):
            await orders.get(principal(who), order_id)
    assert (await orders.page(principal(shop.other_seller), PageRequest())).rows == []
    assert (await orders.page(principal(shop.seller), PageRequest())).rows == [order]
