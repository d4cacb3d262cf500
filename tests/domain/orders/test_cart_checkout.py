"""An order of what is in the cart: at the prices that were seen, once, whatever becomes of the cart."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from domain.cart.model import MAX_ITEMS, CartItem
from domain.cart.service import CartService
from domain.errors import Conflict, DomainError, Forbidden, IdempotencyMismatch, Unavailable
from domain.identity.model import Principal, Role
from domain.ids import UserId, uuid7
from domain.orders.checkout import Checkout, PlacedOrder
from domain.orders.draft import OrderItem
from domain.orders.model import OutOfStock, PricesChanged
from tests.builders import NOW, ORDER_POLICY, Shop, a_cart_item, principal
from tests.domain.fakes import FakeCarts, FakeClock, Memory


@pytest.fixture
def buyer(shop: Shop) -> Principal:
    return principal(shop.buyer)


@pytest.fixture
def cart(memory: Memory, carts: FakeCarts, clock: FakeClock) -> CartService:
    return CartService(memory.begin, carts, clock)


@pytest.fixture
def checkout(memory: Memory, carts: FakeCarts, clock: FakeClock) -> Checkout:
    return Checkout(memory.begin, carts, clock, ORDER_POLICY)


@pytest.fixture
async def filled(cart: CartService, shop: Shop, buyer: Principal, clock: FakeClock) -> Sequence[CartItem]:
    """A cart of two lamps and one other thing, some seconds old."""
    await cart.put(buyer, shop.product.id, 2)
    clock.advance(1)
    items = await cart.put(buyer, shop.other_product.id, 1)
    clock.advance(1)
    return items


async def test_order_of_the_cart_has_its_items_and_empties_it(
    checkout: Checkout, cart: CartService, buyer: Principal, filled: Sequence[CartItem]
) -> None:
    placed = await checkout.place_cart(buyer, "key")

    assert not placed.replayed
    assert [(line.product_id, line.quantity, line.price_minor) for line in placed.order.lines] == [
        (item.product_id, item.quantity, item.price_minor) for item in filled
    ]
    assert await cart.get(buyer) == []


async def test_empty_cart_makes_no_order(checkout: Checkout, memory: Memory, buyer: Principal) -> None:
    with pytest.raises(Conflict) as refusal:
        await checkout.place_cart(buyer, "key")

    assert refusal.value.code == "cart_empty"
    assert memory.state.orders == {}


async def test_changed_price_is_told_before_anything_is_ordered(
    checkout: Checkout, memory: Memory, cart: CartService, shop: Shop, buyer: Principal, filled: Sequence[CartItem]
) -> None:
    memory.state.products[shop.product.id] = replace(shop.product, price_minor=2099)

    with pytest.raises(PricesChanged) as refusal:
        await checkout.place_cart(buyer, "key")

    assert refusal.value.code == "prices_changed"
    assert refusal.value.facts["changes"] == [
        {
            "product_id": str(shop.product.id),
            "seen": {"price_minor": 1999, "currency": "USD"},
            "now": {"price_minor": 2099, "currency": "USD"},
        }
    ]
    assert memory.state.orders == {}
    assert memory.state.products[shop.product.id].stock == shop.product.stock
    assert await cart.get(buyer) == filled


async def test_price_is_accepted_by_putting_the_product_in_again(
    checkout: Checkout, memory: Memory, cart: CartService, shop: Shop, buyer: Principal, filled: Sequence[CartItem]
) -> None:
    memory.state.products[shop.product.id] = replace(shop.product, price_minor=2099)
    with pytest.raises(PricesChanged):
        await checkout.place_cart(buyer, "key")
    with pytest.raises(PricesChanged):
        await checkout.place_cart(buyer, "key")

    await cart.put(buyer, shop.product.id, 2)
    placed = await checkout.place_cart(buyer, "key")

    assert placed.order.amount_minor == 2 * 2099 + 501


async def test_stock_is_checked_too(
    checkout: Checkout, memory: Memory, cart: CartService, shop: Shop, buyer: Principal, filled: Sequence[CartItem]
) -> None:
    memory.state.products[shop.product.id] = replace(shop.product, stock=1)

    with pytest.raises(OutOfStock):
        await checkout.place_cart(buyer, "key")

    assert await cart.get(buyer) == filled


async def test_product_that_is_gone_is_a_conflict_since_the_client_did_not_send_it(
    checkout: Checkout, memory: Memory, shop: Shop, buyer: Principal, filled: Sequence[CartItem]
) -> None:
    memory.state.products[shop.product.id] = replace(shop.product, withdrawn_at=NOW)

    with pytest.raises(Conflict) as refusal:
        await checkout.place_cart(buyer, "key")

    assert (refusal.value.code, refusal.value.facts) == ("product_not_found", {"product_id": str(shop.product.id)})


async def test_order_has_one_currency(
    checkout: Checkout, memory: Memory, cart: CartService, shop: Shop, buyer: Principal, filled: Sequence[CartItem]
) -> None:
    memory.state.products[shop.product.id] = replace(shop.product, currency="EUR")
    await cart.put(buyer, shop.product.id, 1)

    with pytest.raises(Conflict) as refusal:
        await checkout.place_cart(buyer, "key")

    assert refusal.value.code == "currencies_mixed"


@pytest.mark.parametrize("then", ["empty", "other things", "lost", "away"])
async def test_retry_finds_its_order_whatever_became_of_the_cart(
    checkout: Checkout,
    carts: FakeCarts,
    cart: CartService,
    shop: Shop,
    buyer: Principal,
    filled: Sequence[CartItem],
    then: str,
) -> None:
    first = await checkout.place_cart(buyer, "key")
    if then == "other things":
        await cart.put(buyer, shop.other_product.id, 7)
    elif then == "lost":
        carts.carts.clear()
    carts.away = then == "away"

    again = await checkout.place_cart(buyer, "key")

    assert (again.order, again.replayed) == (first.order, True)
    carts.away = False
    assert [item.quantity for item in await cart.get(buyer)] == [7] * (then == "other things")


async def test_retry_empties_the_cart_that_could_not_be_emptied(
    checkout: Checkout, carts: FakeCarts, cart: CartService, shop: Shop, buyer: Principal, clock: FakeClock
) -> None:
    """Of what was ordered, and of nothing that was put in since, even if it looks the same."""
    await cart.put(buyer, shop.product.id, 2)
    await cart.put(buyer, shop.other_product.id, 1)
    before = await cart.get(buyer)
    await checkout.place_cart(buyer, "key")
    for item in before:  # as if the discarding had failed
        await carts.put(buyer.user_id, item, max_items=MAX_ITEMS)
    clock.advance(1)
    await cart.put(buyer, shop.other_product.id, 1)

    await checkout.place_cart(buyer, "key")

    assert [item.product_id for item in await cart.get(buyer)] == [shop.other_product.id]


class ForgetfulCarts(FakeCarts):
    """Carts that can be read and not emptied, or that others change while an order is placed."""

    def __init__(self, meanwhile: CartItem | None = None) -> None:
        super().__init__()
        self._meanwhile = meanwhile

    async def discard(self, user_id: UserId, items: Sequence[CartItem]) -> None:
        if self._meanwhile is None:
            raise Unavailable("the carts are out of reach", code="cart_unavailable")
        await self.put(user_id, self._meanwhile, max_items=MAX_ITEMS)
        await super().discard(user_id, items)


async def test_order_stands_although_the_cart_cannot_be_emptied(
    memory: Memory, clock: FakeClock, shop: Shop, buyer: Principal
) -> None:
    carts = ForgetfulCarts()
    checkout = Checkout(memory.begin, carts, clock, ORDER_POLICY)
    await CartService(memory.begin, carts, clock).put(buyer, shop.product.id, 1)

    first, again = [await checkout.place_cart(buyer, "key") for _ in range(2)]

    assert (first.replayed, again.replayed) == (False, True)
    assert again.order == first.order


@pytest.mark.parametrize("same_product", [True, False])
async def test_what_is_put_in_while_the_order_is_placed_stays(
    memory: Memory, clock: FakeClock, shop: Shop, buyer: Principal, *, same_product: bool
) -> None:
    late = a_cart_item(**({"product_id": shop.product.id} if same_product else {}), quantity=9)
    carts = ForgetfulCarts(meanwhile=late)
    await CartService(memory.begin, carts, clock).put(buyer, shop.product.id, 1)

    await Checkout(memory.begin, carts, clock, ORDER_POLICY).place_cart(buyer, "key")

    assert await carts.get(buyer.user_id) == [late]


class CrowdedCarts(FakeCarts):
    """Carts of which others order one as soon as it was read for an order."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self._key = key
        self.checkout: Checkout | None = None
        self.answer: PlacedOrder | DomainError | None = None

    async def get(self, user_id: UserId) -> Sequence[CartItem]:
        items = await super().get(user_id)
        if self.checkout is not None:
            checkout, self.checkout = self.checkout, None
            try:
                self.answer = await checkout.place_cart(Principal(user_id, Role.BUYER), self._key)
            except DomainError as error:
                self.answer = error
        return items


async def test_cart_is_not_ordered_twice_at_once(
    memory: Memory, clock: FakeClock, shop: Shop, buyer: Principal
) -> None:
    carts = CrowdedCarts("other")
    await CartService(memory.begin, carts, clock).put(buyer, shop.product.id, 1)
    carts.checkout = checkout = Checkout(memory.begin, carts, clock, ORDER_POLICY)

    placed = await checkout.place_cart(buyer, "key")

    assert isinstance(carts.answer, Conflict)
    assert carts.answer.code == "checkout_in_progress"
    assert list(memory.state.orders.values()) == [placed.order]
    with pytest.raises(Conflict) as later:
        await checkout.place_cart(buyer, "other")
    assert later.value.code == "cart_empty"


async def test_request_that_is_repeated_at_once_has_the_same_order(
    memory: Memory, clock: FakeClock, shop: Shop, buyer: Principal
) -> None:
    carts = CrowdedCarts("key")
    await CartService(memory.begin, carts, clock).put(buyer, shop.product.id, 1)
    carts.checkout = checkout = Checkout(memory.begin, carts, clock, ORDER_POLICY)

    placed = await checkout.place_cart(buyer, "key")

    assert isinstance(carts.answer, PlacedOrder)
    assert (placed.order, placed.replayed) == (carts.answer.order, True)
    assert await carts.get(buyer.user_id) == []


async def test_cart_that_could_not_be_ordered_can_be_under_another_key(
    checkout: Checkout, memory: Memory, shop: Shop, buyer: Principal, filled: Sequence[CartItem]
) -> None:
    memory.state.products[shop.product.id] = replace(shop.product, stock=0)
    with pytest.raises(OutOfStock):
        await checkout.place_cart(buyer, "key")
    memory.state.products[shop.product.id] = shop.product

    assert not (await checkout.place_cart(buyer, "other")).replayed


async def test_one_key_orders_either_items_or_the_cart(
    checkout: Checkout, shop: Shop, buyer: Principal, filled: Sequence[CartItem]
) -> None:
    items = [OrderItem(item.product_id, item.quantity) for item in filled]
    await checkout.place(buyer, "items", items)
    await checkout.place_cart(buyer, "cart")

    with pytest.raises(IdempotencyMismatch):
        await checkout.place_cart(buyer, "items")
    with pytest.raises(IdempotencyMismatch):
        await checkout.place(buyer, "cart", items)


async def test_items_are_ordered_while_the_carts_are_away(
    checkout: Checkout, carts: FakeCarts, shop: Shop, buyer: Principal, filled: Sequence[CartItem]
) -> None:
    carts.away = True

    with pytest.raises(Unavailable):
        await checkout.place_cart(buyer, "cart")
    assert not (await checkout.place(buyer, "items", [OrderItem(shop.product.id, 1)])).replayed


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.BUYER])
async def test_buyers_alone_order_their_carts(checkout: Checkout, role: Role) -> None:
    with pytest.raises(Forbidden):
        await checkout.place_cart(Principal(UserId(uuid7()), role), "key")
