"""Placing orders, of items or of what is in a cart."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from domain.cart.model import CartItem
from domain.cart.ports import CartStore
from domain.clock import Clock
from domain.errors import Conflict, DomainError, IdempotencyMismatch, Unavailable
from domain.events import Event, event
from domain.fingerprints import fingerprint
from domain.identity.model import Principal, Role, require_role
from domain.ids import UserId
from domain.orders.draft import OrderItem, OrderRequest, draft
from domain.orders.model import Order, OrderPolicy, StockGone
from domain.orders.ports import OrdersTransaction
from domain.transactions import Begin

_ATTEMPTS = 3
"""How often an order is tried whose stock was there at the look and gone at the grasp."""

_CLAIM_S = 20.0
"""Longer than an order of a cart takes; for so long one that broke off is waited for."""

_OF_CART = fingerprint(source="cart")
"""The fingerprint of every order of a cart: it stands for what the client sent, not for what the cart held. So a
retry finds its order again when the cart is empty meanwhile, holds other things, or is lost."""


@dataclass(frozen=True, slots=True)
class PlacedOrder:
    """An order, and whether the same request had placed it before."""

    order: Order
    replayed: bool


class Checkout:
    """Turns items into an order, which holds their stock until it is paid, cancelled or expires."""

    def __init__(
        self, begin: Begin[OrdersTransaction], carts: CartStore, clock: Clock, policy: OrderPolicy
    ) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._carts = carts
        self._clock = clock
        self._policy = policy

    async def place(self, principal: Principal, idempotency_key: str, items: Sequence[OrderItem]) -> PlacedOrder:
        """Place an order of the calling buyer under an idempotency key; a retry is safe.

        Errors: Forbidden for other roles; Invalid `product_not_found`, `currencies_mixed` or an amount out of
        range; OutOfStock; IdempotencyMismatch. Locks the products, sorted by id, at the very end.
        """
        require_role(principal, Role.BUYER)
        request_hash = fingerprint(items=[(item.product_id, item.quantity) for item in items])
        return await self._place(OrderRequest(principal.user_id, idempotency_key, request_hash, items))

    async def place_cart(self, principal: Principal, idempotency_key: str) -> PlacedOrder:
        """Place an order of what is in the calling buyer's cart, and take that out of the cart.

        A retry is safe, and answers the same order whatever is in the cart by then. Errors: as for `place`, with
        Conflict in the place of Invalid; Conflict `cart_empty`, or `checkout_in_progress` while it is ordered
        under another key; PricesChanged; Unavailable `cart_unavailable`, but not for a retry.
        """
        require_role(principal, Role.BUYER)
        buyer_id = principal.user_id
        if (earlier := await self._find(buyer_id, idempotency_key)) is not None:
            await self._take_out_again(earlier.order)
            return earlier
        if not await self._carts.claim(buyer_id, idempotency_key, for_s=_CLAIM_S):
            raise Conflict("the cart is being ordered by another request", code="checkout_in_progress")
        try:
            return await self._place_claimed(buyer_id, idempotency_key)
        finally:
            with suppress(Unavailable):
                await self._carts.release(buyer_id, idempotency_key)

    async def _place_claimed(self, buyer_id: UserId, idempotency_key: str) -> PlacedOrder:
        """Place an order of a cart that nobody orders under another key, which would make two of one cart."""
        items = await self._carts.get(buyer_id)
        if not items:
            # A request with the same key may have emptied it a moment ago.
            if (earlier := await self._find(buyer_id, idempotency_key)) is not None:
                return earlier
            raise Conflict("the cart is empty", code="cart_empty")
        placed = await self._place(OrderRequest(buyer_id, idempotency_key, _OF_CART, items))
        if not placed.replayed:
            await self._take_out(buyer_id, items)
        return placed

    async def _place(self, request: OrderRequest) -> PlacedOrder:
        for _ in range(_ATTEMPTS - 1):
            # Somebody was faster. The next look tells what is left; it may also have come back.
            with suppress(StockGone):
                return await self._try_to_place(request)
        return await self._try_to_place(request)

    async def _try_to_place(self, request: OrderRequest) -> PlacedOrder:
        async with self._begin() as tx:
            earlier = await tx.orders.by_key(request.buyer_id, request.idempotency_key)
            if earlier is None:
                products = await tx.products.by_ids([item.product_id for item in request.items])
                rates = await tx.users.seller_rates(sorted({product.seller_id for product in products.values()}))
                try:
                    order = draft(request, products, rates, self._clock.now(), self._policy)
                except DomainError:
                    # Another request with this key may have taken the last pieces since the look.
                    earlier = await tx.orders.by_key(request.buyer_id, request.idempotency_key)
                    if earlier is None:
                        raise
                    return _replay(earlier, request.request_hash)
                # The order goes in last: the fewer statements between its lock of a hot product and the commit,
                # the more orders of it a second.
                await tx.events.append([_placed(order)])
                if await tx.orders.add(order):
                    await tx.commit()
                    return PlacedOrder(order, replayed=False)
                # Another request with this key committed between the look and the insert.
                earlier = await tx.orders.by_key(request.buyer_id, request.idempotency_key)
        return _replay(earlier, request.request_hash)

    async def _find(self, buyer_id: UserId, idempotency_key: str) -> PlacedOrder | None:
        """Return the order of a cart that was placed under a key. Errors: IdempotencyMismatch."""
        async with self._begin() as tx:
            order = await tx.orders.by_key(buyer_id, idempotency_key)
        return _replay(order, _OF_CART) if order is not None else None

    async def _take_out_again(self, order: Order) -> None:
        """Repeat what may have failed when the order was placed: what was put in since then stays."""
        ordered = {line.product_id: line.quantity for line in order.lines}
        with suppress(Unavailable):
            items = await self._carts.get(order.buyer_id)
            left = [item for item in items if ordered.get(item.product_id) == item.quantity]
            await self._take_out(order.buyer_id, [item for item in left if item.put_at <= order.created_at])

    async def _take_out(self, buyer_id: UserId, items: Sequence[CartItem]) -> None:
        """Take what was ordered out of the cart, if it can be: the order stands in any case."""
        with suppress(Unavailable):
            await self._carts.discard(buyer_id, items)


def _replay(earlier: Order | None, request_hash: bytes) -> PlacedOrder:
    if earlier is None or earlier.request_hash != request_hash:
        raise IdempotencyMismatch("this Idempotency-Key was used for another order")
    return PlacedOrder(earlier, replayed=True)


def _placed(order: Order) -> Event:
    return event(
        "order.placed",
        order.id,
        order.created_at,
        audience=order.parties,
        by=order.buyer_id,
        reason="ordered by the buyer",
        buyer_id=order.buyer_id,
        amount_minor=order.amount_minor,
        currency=order.currency,
    )
