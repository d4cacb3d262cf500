"""Filling a cart."""

from collections.abc import Sequence

from domain.cart.model import MAX_ITEMS, CartItem
from domain.cart.ports import CartStore
from domain.catalog.ports import CatalogTransaction
from domain.clock import Clock
from domain.errors import Conflict, NotFound
from domain.identity.model import Principal, Role, require_role
from domain.ids import ProductId
from domain.transactions import Begin


class CartService:
    """The carts. Every method: Forbidden for other roles than buyers; Unavailable `cart_unavailable`."""

    def __init__(self, begin: Begin[CatalogTransaction], carts: CartStore, clock: Clock) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._carts = carts
        self._clock = clock

    async def get(self, principal: Principal) -> Sequence[CartItem]:
        """Return the caller's cart, in the order in which it was filled."""
        require_role(principal, Role.BUYER)
        return await self._carts.get(principal.user_id)

    async def put(self, principal: Principal, product_id: ProductId, quantity: int) -> Sequence[CartItem]:
        """Put so many pieces of a product in, at its present price, and return the cart.

        The same product put in again takes the place of the item: that is how a buyer accepts a changed price.
        Errors: NotFound `product_not_found`; Conflict `cart_full`.
        """
        require_role(principal, Role.BUYER)
        async with self._begin() as tx:
            product = (await tx.products.by_ids([product_id])).get(product_id)
        if product is None or product.withdrawn_at is not None:
            raise NotFound("there is no such product", code="product_not_found")
        item = CartItem(product_id, quantity, product.price_minor, product.currency, self._clock.now())
        if not await self._carts.put(principal.user_id, item, max_items=MAX_ITEMS):
            raise Conflict(f"a cart holds at most {MAX_ITEMS} products", code="cart_full")
        return await self._carts.get(principal.user_id)

    async def remove(self, principal: Principal, product_id: ProductId) -> None:
        """Take a product out, if it is there."""
        require_role(principal, Role.BUYER)
        await self._carts.remove(principal.user_id, product_id)

    async def clear(self, principal: Principal) -> None:
        """Take everything out."""
        require_role(principal, Role.BUYER)
        await self._carts.clear(principal.user_id)
