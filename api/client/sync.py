"""The client for programs without an event loop."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from typing import Any, Self, TypeVar

from .client import Client
from .events import EventStream
from .models import SETTLED, Event, Order, Payment, PaymentStatus
from .nouns import Items

Value = TypeVar("Value")


class SyncClient:
    """A small synchronous face of the client: the main path, and `run` and `each` for everything else.

    Not for use inside an event loop, nor from several threads at once.
    """

    def __init__(self, base_url: str, **options: Any) -> None:
        """Make a client; `options` as of Client."""
        self._runner = asyncio.Runner()
        self._is_closed = False
        self.client = self.run(lambda: _made(base_url, options))

    def __enter__(self) -> Self:
        """Use the client until the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self.run(self.client.aclose)
        self._is_closed = True
        self._runner.close()

    def run(self, call: Callable[[], Awaitable[Value]]) -> Value:
        """Return what a call of the client returns: `run(lambda: market.client.cart.put(product_id))`."""

        async def called() -> Value:
            return await call()

        return self._runner.run(called())

    def each(self, rows: AsyncIterator[Value]) -> Iterator[Value]:
        """Yield what a list or a stream yields: `each(market.client.products.search("desk"))`.

        Who leaves it ends it, and closes its connection.
        """

        async def following() -> tuple[Value] | None:
            try:
                return (await anext(rows),)
            except StopAsyncIteration:
                return None

        async def leaving() -> None:
            if isinstance(rows, AsyncGenerator | EventStream):
                await rows.aclose()

        try:
            while (row := self._runner.run(following())) is not None:
                yield row[0]
        finally:
            if not self._is_closed:
                self._runner.run(leaving())

    def log_in(self, email: str, password: str) -> None:
        """Begin a session."""
        self.run(lambda: self.client.log_in(email, password))

    def order(self, items: Items | None = None, *, key: str | None = None) -> Order:
        """Order products, or what is in the cart."""
        return self.run(lambda: self.client.orders.place(items, key=key))

    def pay(self, order_id: str, payment_method: str, *, key: str | None = None, **more: Any) -> Payment:
        """Ask for the payment of an order."""
        return self.run(lambda: self.client.payments.pay(order_id, payment_method, key=key, **more))

    def wait(
        self, payment_id: str, *, timeout_s: float = 60.0, until: Collection[PaymentStatus] = SETTLED
    ) -> Payment:
        """Return a payment as soon as it is settled. Errors: StillPending."""
        return self.run(lambda: self.client.payments.wait(payment_id, timeout_s=timeout_s, until=until))

    def events(self, *, after: str | int | None = None) -> Iterator[Event]:
        """Yield what happens to one's own orders and payments."""
        return self.each(self.client.events(after=after))

    def request(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """Ask for anything else and return its JSON; `options` as of Client.request."""
        return self.run(lambda: self.client.request(method, path, body, **options))


async def _made(base_url: str, options: Mapping[str, Any]) -> Client:
    return Client(base_url, **options)
