"""Who trades, and what with: users, keys, products, carts, orders."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, cast

from .models import ApiKey, Cart, NewApiKey, Order, Product, User
from .noun import Noun
from .sending import new_key

Items = Iterable[tuple[str, int]]
"""Products and how many of each."""


class Users(Noun):
    """`/v1/users`."""

    async def register(self, email: str, password: str, role: str) -> User:
        """Register a buyer or a seller."""
        body = {"email": email, "password": password, "role": role}
        return cast("User", await self._ask("POST", "/v1/users", body))

    async def get(self, user_id: str) -> User:
        """Return the caller; admins ask for anybody."""
        return cast("User", await self._ask("GET", f"/v1/users/{user_id}"))

    async def change_password(self, current_password: str, new_password: str) -> None:
        """Give the caller another password; all of its sessions end, this one too."""
        body = {"current_password": current_password, "new_password": new_password}
        await self._ask("POST", "/v1/users/me/password", body)


class ApiKeys(Noun):
    """`/v1/api-keys`: for a session, not for a key."""

    async def create(self, name: str, scopes: Sequence[str]) -> NewApiKey:
        """Make a key that may do what its scopes name; `key` is shown this once."""
        body = {"name": name, "scopes": list(scopes)}
        return cast("NewApiKey", await self._ask("POST", "/v1/api-keys", body))

    def list(self, **filters: Any) -> AsyncIterator[ApiKey]:
        """Yield the caller's keys, or to an admin all or those of one `user_id`; newest first."""
        return self._pages("/v1/api-keys", filters)

    async def revoke(self, key_id: str) -> None:
        """Let a key do nothing any more."""
        await self._ask("DELETE", f"/v1/api-keys/{key_id}")


class Products(Noun):
    """`/v1/products`."""

    async def offer(self, title: str, price_minor: int, currency: str, **more: Any) -> Product:
        """Offer a product; `more` are the other fields: stock, description, category and others."""
        body = {"title": title, "price_minor": price_minor, "currency": currency, **more}
        return cast("Product", await self._ask("POST", "/v1/products", body))

    async def get(self, product_id: str) -> Product:
        """Return a product."""
        return cast("Product", await self._ask("GET", f"/v1/products/{product_id}"))

    async def change(self, product_id: str, **changes: Any) -> Product:
        """Change fields of one's own product."""
        answer = await self._ask("PATCH", f"/v1/products/{product_id}", changes, repeatable=True)
        return cast("Product", answer)

    async def withdraw(self, product_id: str) -> None:
        """Take one's own product off the market."""
        await self._ask("DELETE", f"/v1/products/{product_id}")

    def search(self, q: str = "", **filters: Any) -> AsyncIterator[Product]:
        """Yield the products that fit words and filters: seller_id, category, in_stock and others."""
        query = {**({"q": q} if q else {}), **{name: _plain(value) for name, value in filters.items()}}
        return self._pages("/v1/products", query)


class Carts(Noun):
    """`/v1/cart`."""

    async def get(self) -> Cart:
        """Return the caller's cart."""
        return cast("Cart", await self._ask("GET", "/v1/cart"))

    async def put(self, product_id: str, quantity: int = 1) -> Cart:
        """Put a product in, or change how many, at its present price."""
        return cast("Cart", await self._ask("PUT", f"/v1/cart/items/{product_id}", {"quantity": quantity}))

    async def take_out(self, product_id: str) -> None:
        """Take a product out."""
        await self._ask("DELETE", f"/v1/cart/items/{product_id}")

    async def empty(self) -> None:
        """Take everything out."""
        await self._ask("DELETE", "/v1/cart")


class Orders(Noun):
    """`/v1/orders`."""

    async def place(self, items: Items | None = None, *, key: str | None = None) -> Order:
        """Order products, or what is in the cart."""
        lines = [{"product_id": product_id, "quantity": quantity} for product_id, quantity in items or ()]
        body = {"items": lines} if items is not None else {}
        return cast("Order", await self._ask("POST", "/v1/orders", body, key=key or new_key()))

    async def get(self, order_id: str) -> Order:
        """Return an order."""
        return cast("Order", await self._ask("GET", f"/v1/orders/{order_id}"))

    def list(self, **filters: Any) -> AsyncIterator[Order]:
        """Yield the orders that the caller may see, newest first."""
        return self._pages("/v1/orders", filters)

    async def ship(self, order_id: str, carrier: str | None = None, tracking_number: str | None = None) -> Order:
        """Tell that the calling seller has sent its lines, and how they can be followed."""
        body = {"carrier": carrier, "tracking_number": tracking_number}
        return await self._step(order_id, "shipments", body)

    async def complete(self, order_id: str) -> Order:
        """Confirm that everything has come."""
        return await self._step(order_id, "completion")

    async def cancel(self, order_id: str) -> Order:
        """Give an unpaid order up."""
        return await self._step(order_id, "cancellation")

    async def _step(self, order_id: str, noun: str, body: Any = None) -> Order:
        """Take a step, which the server takes once however often it is asked for."""
        answer = await self._ask("POST", f"/v1/orders/{order_id}/{noun}", body, repeatable=True)
        return cast("Order", answer)


def _plain(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
