"""Following events: server-sent events, resumed wherever they break off."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Self, cast

import httpx

from .errors import Refused, Unanswered, refusal
from .models import Event
from .sending import Retry, retry_after_s

_OK = 200
_LATER = frozenset({429, 502, 503, 504})

Connect = Callable[[Mapping[str, str]], Awaitable[httpx.Response]]
"""Asks for the stream with these headers; its body is not read yet."""


class EventStream:
    """The caller's events, in order, each once, for as long as one iterates; close it, or use it in `async with`.

    It goes on by itself after the last event, whatever breaks the connection, and for who gave up waiting for the
    next one and asks again. `position` is where it stands; give it as `after` to go on from there another time. It
    moves on also while nothing concerns the caller.
    """

    def __init__(self, connect: Connect, retry: Retry, *, after: str | None) -> None:
        """Keep how to connect, and how soon to do so again; `after` None: from now on."""
        # Apart from this stream, which nothing holds that it holds: whoever leaves it ends it at once.
        self._following = _Following(connect, retry, after)
        self._events = self._following.events()

    @property
    def position(self) -> str | None:
        """The place after the last event that was taken."""
        return self._following.position

    async def opened(self) -> None:
        """Wait until the stream is open: whatever happens from then on will come. Another task must iterate."""
        await self._following.opened.wait()

    async def __aenter__(self) -> Self:
        """Follow until the end of the block."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Follow no more."""
        await self.aclose()

    def __aiter__(self) -> Self:
        """Iterate over the events."""
        return self

    async def __anext__(self) -> Event:
        """Return the next event. Errors: Refused when the server does not let this caller follow."""
        try:
            return await anext(self._events)
        except asyncio.CancelledError:
            self._events = self._following.events()
            raise

    async def aclose(self) -> None:
        """Follow no more."""
        await self._events.aclose()


class _Following:
    """Where a stream stands, and how it goes on from there."""

    def __init__(self, connect: Connect, retry: Retry, position: str | None) -> None:
        self.position = position
        self.opened = asyncio.Event()
        self._connect = connect
        self._retry = retry
        self._failures = 0
        self._pause_s = 0.0

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield the events after the place, over as many connections as that takes."""
        while True:
            async with aclosing(self._until_broken()) as events:
                async for event in events:
                    yield event
            await asyncio.sleep(self._pause_s)

    async def _until_broken(self) -> AsyncGenerator[Event, None]:
        """Yield what one connection brings, and set how long to wait before the next."""
        headers = {"Accept": "text/event-stream"}
        if self.position is not None:
            headers["Last-Event-ID"] = self.position
        self._pause_s = self._retry.pause_s(self._failures)
        self._failures += 1
        try:
            answer = await self._connect(headers)
            try:
                if not await self._is_open(answer):
                    return
                async with aclosing(self._read(answer)) as events:
                    async for event in events:
                        yield event
            finally:
                await answer.aclose()
        except (httpx.TransportError, Unanswered):
            return
        except Refused as error:
            # Also of the token's renewal, which gives up after a while.
            if error.status not in _LATER:
                raise

    async def _is_open(self, answer: httpx.Response) -> bool:
        if answer.status_code == _OK:
            return True
        await answer.aread()
        if answer.status_code in _LATER:
            self._pause_s = max(self._pause_s, retry_after_s(answer) or 0.0)
            return False
        raise refusal(answer)

    async def _read(self, answer: httpx.Response) -> AsyncGenerator[Event, None]:
        """Parse the stream (html.spec.whatwg.org, 9.2.6); a place counts once its event was taken."""
        position, data = self.position, ""
        async with aclosing(_lines(answer)) as lines:
            async for line in lines:
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if name == "id":
                    position = value
                elif name == "data":
                    data += value
                elif name == "retry" and value.isdecimal():
                    # All clients of a server that ends are told another time.
                    self._pause_s = int(value) / 1000 * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
                elif not line:
                    self._failures = 0
                    if data:
                        event, data = cast("Event", json.loads(data)), ""
                        self.position = position
                        yield event
                    self.position = position
                    if position is not None:
                        self.opened.set()


async def _lines(answer: httpx.Response) -> AsyncGenerator[str, None]:
    """Yield a stream's lines, which end with LF or CRLF.

    httpx's own ends one also at the other separators that Unicode has, and whoever writes one into the text of an
    event would cut that event in two.
    """
    rest = b""
    async with aclosing(cast("AsyncGenerator[bytes, None]", answer.aiter_bytes())) as parts:
        async for part in parts:
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                yield line.removesuffix(b"\r").decode(errors="replace")
