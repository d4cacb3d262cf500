"""A client before a server that answers what a test tells it to."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from api.client import Client, Retry

Step = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class Server:
    """Answers in the order of its script, the last step for ever; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[httpx.Request] = []
        self._script: deque[Step] = deque()

    def will(self, *steps: Step) -> "Server":
        self._script.extend(steps)
        return self

    def headers(self, name: str) -> list[str | None]:
        """That header of each request."""
        return [request.headers.get(name) for request in self.asked]

    async def answer(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)
        self.asked.append(request)
        step = self._script.popleft() if len(self._script) > 1 else self._script[0]
        if isinstance(step, Exception):
            raise step
        return step(request) if callable(step) else step


def ok(body: Any = None, status: int = 200, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=body if body is not None else {}, headers=named)


def problem(status: int, code: str = "a_code", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={"code": code, "detail": "why", "fact": 7}, headers=named)


class Body(httpx.AsyncByteStream):
    """A body that comes in parts, and then ends, breaks, or stays open."""

    def __init__(self, *parts: str, then: Exception | None = None, stays: bool = False) -> None:
        self._parts = parts
        self._then = then
        self._stays = stays
        self.is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part.encode()
            await asyncio.sleep(0)
        if self._then is not None:
            raise self._then
        if self._stays:
            await asyncio.Event().wait()

    async def aclose(self) -> None:
        self.is_closed = True


def streaming(body: Body) -> httpx.Response:
    return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, stream=body)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def make(server: Server) -> AsyncIterator[Callable[..., Client]]:
    async with contextlib.AsyncExitStack() as opened:

        def make_one(**options: Any) -> Client:
            http = httpx.AsyncClient(transport=httpx.MockTransport(server.answer), base_url="http://api.test")
            opened.push_async_callback(http.aclose)
            quick = Retry(for_s=30, base_s=0.001, cap_s=0.002)
            return Client("http://api.test", http=http, **{"retry": quick, **options})

        yield make_one


@pytest.fixture
def client(make: Callable[..., Client]) -> Client:
    return make(bearer="a-token")
