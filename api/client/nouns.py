"""What can be asked of the server, by the nouns of its API."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol, cast

import httpx

from .errors import StillPending
from .models import (
    SETTLED,
    Cart,
    Event,
    Order,
    Payment,
    PaymentStatus,
    Product,
    Refund,
    RefundLine,
    User,
)
from .sending import Request, new_key

_LONGEST_WAIT_S = 30
_GRACE_S = 10.0
_NOT_MODIFIED = 304
_SHORT_S = 0.2

Items = Iterable[tuple[str, int]]
"""Products and how many of each."""


class Sends(Protocol):
    """What the nouns need of a client."""

    async def send(self, request: Request) -> httpx.Response:
        """Return a success, or 304. Errors: Refused, Unanswered."""
        ...


class _Noun:
    def __init__(self, client: Sends) -> None:
        """Keep the client."""
        self._client = client

    async def _ask(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        answer = await self._client.send(Request(method, path, body, **options))
        return answer.json() if answer.content else None

    async def _pages(self, path: str, query: Mapping[str, Any]) -> AsyncIterator[Any]:
        """Yield the rows of a list, page after page."""
        cursor: str | None = None
        while True:
            asked = {**query, **({"cursor": cursor} if cursor else {})}
            page = await self._ask("GET", path, query=asked)
            for row in page["data"]:
                yield row
            cursor = page["next_cursor"]
            if cursor is None:
                return


class Users(_Noun):
    """`/v1/users`."""

    async def register(self, email: str, password: str, role: str) -> User:
        """Register a buyer or a seller."""
        body = {"email": email, "password": password, "role": role}
        return cast("User", await self._ask("POST", "/v1/users", body))


class Products(_Noun):
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

    def search(self, q: str = "", **filters: Any) -> AsyncIterator[Product]:
        """Yield the products that fit words and filters: seller_id, category, in_stock and others."""
        query = {**({"q": q} if q else {}), **{name: _plain(value) for name, value in filters.items()}}
        return self._pages("/v1/products", query)


class Carts(_Noun):
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


class Orders(_Noun):
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

    async def ship(self, order_id: str, carrier: str, tracking_number: str) -> Order:
        """Tell that the calling seller has sent its lines."""
        body = {"carrier": carrier, "tracking_number": tracking_number}
        return cast("Order", await self._ask("POST", f"/v1/orders/{order_id}/shipments", body))

    async def complete(self, order_id: str) -> Order:
        """Confirm that everything has come."""
        return cast("Order", await self._ask("POST", f"/v1/orders/{order_id}/completion"))

    async def cancel(self, order_id: str) -> Order:
        """Give an unpaid order up."""
        return cast("Order", await self._ask("POST", f"/v1/orders/{order_id}/cancellation"))


class Payments(_Noun):
    """`/v1/payments`."""

    async def pay(self, order_id: str, payment_method: str, *, key: str | None = None, **more: Any) -> Payment:
        """Ask for the payment of an order; it is accepted when this returns, and settled a moment later."""
        body = {"order_id": order_id, "payment_method": payment_method, **more}
        return await self._pay(body, key)

    async def pay_seller(
        self,
        seller_id: str,
        amount_minor: int,
        currency: str,
        payment_method: str,
        *,
        key: str | None = None,
        **more: Any,
    ) -> Payment:
        """Ask for a direct payment to a seller."""
        terms = {"seller_id": seller_id, "amount_minor": amount_minor, "currency": currency}
        return await self._pay({**terms, "payment_method": payment_method, **more}, key)

    async def get(self, payment_id: str) -> Payment:
        """Return a payment as it is."""
        return cast("Payment", await self._ask("GET", f"/v1/payments/{payment_id}"))

    def list(self, **filters: Any) -> AsyncIterator[Payment]:
        """Yield the payments that the caller may see, newest first."""
        return self._pages("/v1/payments", filters)

    async def wait(
        self, payment_id: str, *, timeout_s: float = 60.0, until: Collection[PaymentStatus] = SETTLED
    ) -> Payment:
        """Return a payment as soon as it is settled, or has another of the wanted states.

        Over as many requests as that takes. Errors: StillPending when the time is over.
        """
        deadline = time.monotonic() + timeout_s
        payment: Payment | None = None
        tag: str | None = None
        while True:
            began = time.monotonic()
            left_s = max(deadline - began, 0.0)
            payment, tag = await self._look(payment_id, payment, tag, wait_s=min(left_s, _LONGEST_WAIT_S))
            if payment["status"] in until:
                return payment
            if not left_s:
                raise StillPending(payment)
            if time.monotonic() - began < _SHORT_S:
                # The server lets nobody wait just now, or something else about the payment changed.
                await asyncio.sleep(min(_SHORT_S, left_s))

    async def events(self, payment_id: str) -> Sequence[Event]:
        """Return what happened to a payment, oldest first."""
        return cast("Sequence[Event]", (await self._ask("GET", f"/v1/payments/{payment_id}/events"))["data"])

    async def capture(self, payment_id: str, amount_minor: int | None = None) -> Payment:
        """Take reserved money, all of it or less."""
        body = {"amount_minor": amount_minor} if amount_minor is not None else {}
        return cast("Payment", await self._ask("POST", f"/v1/payments/{payment_id}/capture", body))

    async def cancel(self, payment_id: str) -> Payment:
        """Give a payment up that waits or is reserved."""
        return cast("Payment", await self._ask("POST", f"/v1/payments/{payment_id}/cancellation"))

    async def refund(
        self,
        payment_id: str,
        reason: str,
        *,
        amount_minor: int | None = None,
        lines: Sequence[RefundLine] | None = None,
        key: str | None = None,
    ) -> Refund:
        """Ask for money to go back: an amount, some lines, or all that the caller may refund."""
        given = {"amount_minor": amount_minor, "lines": lines}
        body = {"reason": reason, **{name: value for name, value in given.items() if value is not None}}
        answer = await self._ask("POST", f"/v1/payments/{payment_id}/refunds", body, key=key or new_key())
        return cast("Refund", answer)

    async def _pay(self, body: Mapping[str, Any], key: str | None) -> Payment:
        return cast("Payment", await self._ask("POST", "/v1/payments", body, key=key or new_key()))

    async def _look(
        self, payment_id: str, known: Payment | None, tag: str | None, *, wait_s: float
    ) -> tuple[Payment, str | None]:
        """Return a payment with its ETag: when it is settled and not as it is known, or when the time is over."""
        headers = {"If-None-Match": tag} if tag is not None else {}
        if whole_s := int(wait_s):
            headers["Prefer"] = f"wait={whole_s}"
        request = Request("GET", f"/v1/payments/{payment_id}", headers=headers, timeout_s=wait_s + _GRACE_S)
        answer = await self._client.send(request)
        if answer.status_code == _NOT_MODIFIED and known is not None:
            return known, tag
        return cast("Payment", answer.json()), answer.headers.get("ETag")


class Refunds(_Noun):
    """`/v1/refunds`."""

    async def get(self, refund_id: str) -> Refund:
        """Return a refund."""
        return cast("Refund", await self._ask("GET", f"/v1/refunds/{refund_id}"))


def _plain(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
