"""What carts need from outside."""

from collections.abc import Sequence
from typing import Protocol

from domain.cart.model import CartItem
from domain.ids import ProductId, UserId


class CartStore(Protocol):
    """The carts, one a user. Every method: Unavailable `cart_unavailable` when the store is out of reach."""

    async def get(self, user_id: UserId) -> Sequence[CartItem]:
        """Return a cart's items, in the order in which they were put in."""
        ...

    async def put(self, user_id: UserId, item: CartItem, *, max_items: int) -> bool:
        """Put an item in, in the place of one of the same product; False when the cart is full."""
        ...

    async def remove(self, user_id: UserId, product_id: ProductId) -> None:
        """Take a product out, if it is there."""
        ...

    async def discard(self, user_id: UserId, items: Sequence[CartItem]) -> None:
        """Take out those of the items that are still exactly as given."""
        ...

    async def clear(self, user_id: UserId) -> None:
        """Take everything out."""
        ...

    async def claim(self, user_id: UserId, key: str, *, for_s: float) -> bool:
        """Let those who order the cart under a key have it for a while; False while another key has it."""
        ...

    async def release(self, user_id: UserId, key: str) -> None:
        """Let others order the cart, if this key has it."""
        ...
