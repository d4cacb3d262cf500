from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from domain.cart.model import MAX_ITEMS, CartItem
from domain.cart.service import CartService
from domain.errors import Conflict, Forbidden, NotFound, Unavailable
from domain.identity.model import Principal, Role
from domain.ids import ProductId, UserId, uuid7
from tests.builders import NOW, Shop, a_cart_item, principal
from tests.domain.fakes import FakeCarts, FakeClock, Memory


@pytest.fixture
def cart(memory: Memory, carts: FakeCarts, clock: FakeClock) -> CartService:
    return CartService(memory.begin, carts, clock)


async def test_cart_keeps_the_price_that_was_seen(
    cart: CartService, memory: Memory, clock: FakeClock, shop: Shop
) -> None:
    buyer, product = principal(shop.buyer), shop.product
    put = await cart.put(buyer, product.id, 2)
    memory.state.products[product.id] = replace(product, price_minor=9999)

    assert await cart.get(buyer) == put == [CartItem(product.id, 2, 1999, "USD", clock.now())]


async def test_product_put_in_again_takes_the_place_and_the_price_of_the_moment(
    cart: CartService, memory: Memory, clock: FakeClock, shop: Shop
) -> None:
    buyer, product = principal(shop.buyer), shop.product
    await cart.put(buyer, product.id, 2)
    await cart.put(buyer, shop.other_product.id, 1)
    memory.state.products[product.id] = replace(product, price_minor=9999)
    clock.advance(1)

    items = await cart.put(buyer, product.id, 3)

    assert [(item.product_id, item.quantity, item.price_minor) for item in items] == [
        (shop.other_product.id, 1, 501),
        (product.id, 3, 9999),
    ]


async def test_product_that_is_not_there_is_not_put_in(cart: CartService, memory: Memory, shop: Shop) -> None:
    memory.state.products[shop.product.id] = replace(shop.product, withdrawn_at=NOW)

    for product_id in (ProductId(uuid7()), shop.product.id):
        with pytest.raises(NotFound) as refusal:
            await cart.put(principal(shop.buyer), product_id, 1)
        assert refusal.value.code == "product_not_found"


async def test_full_cart_takes_no_other_product(cart: CartService, carts: FakeCarts, shop: Shop) -> None:
    buyer = principal(shop.buyer)
    for _ in range(MAX_ITEMS - 1):
        await carts.put(shop.buyer.id, a_cart_item(), max_items=MAX_ITEMS)
    await cart.put(buyer, shop.product.id, 1)

    with pytest.raises(Conflict) as refusal:
        await cart.put(buyer, shop.other_product.id, 1)

    assert refusal.value.code == "cart_full"
    assert len(await cart.put(buyer, shop.product.id, 2)) == MAX_ITEMS


async def test_products_are_taken_out_and_the_cart_is_emptied(cart: CartService, shop: Shop) -> None:
    buyer = principal(shop.buyer)
    for product in (shop.product, shop.other_product):
        await cart.put(buyer, product.id, 1)

    for _ in range(2):
        await cart.remove(buyer, shop.product.id)
        assert [item.product_id for item in await cart.get(buyer)] == [shop.other_product.id]
    await cart.clear(buyer)
    assert await cart.get(buyer) == []


CALLS: list[Callable[[CartService, Principal, ProductId], Awaitable[object]]] = [
    lambda cart, who, _: cart.get(who),
    lambda cart, who, product_id: cart.put(who, product_id, 1),
    lambda cart, who, product_id: cart.remove(who, product_id),
    lambda cart, who, _: cart.clear(who),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("role", [role for role in Role if role is not Role.BUYER])
async def test_buyers_alone_have_carts(
    cart: CartService, shop: Shop, role: Role, call: Callable[..., Awaitable[object]]
) -> None:
    with pytest.raises(Forbidden):
        await call(cart, Principal(UserId(uuid7()), role), shop.product.id)


@pytest.mark.parametrize("call", CALLS)
async def test_carts_that_are_away_are_told(
    cart: CartService, carts: FakeCarts, shop: Shop, call: Callable[..., Awaitable[object]]
) -> None:
    carts.away = True

    with pytest.raises(Unavailable) as refusal:
        await call(cart, principal(shop.buyer), shop.product.id)

    assert refusal.value.code == "cart_unavailable"
