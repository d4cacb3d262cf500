"""A small HTTP/1.1 client, for calls by the thousand a second to one server.

PERF: aiohttp takes 180 µs of a call, this a fourth of it (loadtest/BUDGET.md). It keeps connections, bounds every
wait and knows TLS; it follows no redirects, keeps no cookies, and speaks to no proxy.
"""

import asyncio
import ssl
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from typing import cast
from urllib.parse import SplitResult, urlsplit

import httptools

from ops.names import NameLookups

_IDLE_S = 15.0
"""Sooner than servers close an idle connection: a request that meets its end has an outcome nobody knows."""
_LONGEST_HEAD = 65_536
_LONGEST_BODY = 64 * 1_024 * 1_024
_MOST_LOOKUPS = 256
"""One that was given up goes on for as long as the system's resolver waits."""
_PORTS = {"http": 80, "https": 443}

_Origin = tuple[str, str, int]
"""Scheme, host and port of a server."""


class HttpClientError(OSError):
    """There is no answer: the server is out of reach, cut the connection, or does not speak HTTP."""


class Headers(dict[str, str]):
    """Headers by name, in whatever case it is written."""

    def __getitem__(self, name: str) -> str:
        """Return a header's value."""
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        """Tell whether there is such a header."""
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]  # as much as is used
        """Return a header's value, or the default."""
        return super().get(name.lower(), default)


@dataclass(slots=True)
class Answer:
    """What a server answered."""

    status: int = 0
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""


class HttpClient:
    """Requests over kept connections, each used by one request at a time."""

    def __init__(self, *, timeout_s: float, tls: ssl.SSLContext | None = None) -> None:
        """Keep how long a request may take, and what checks certificates (None: the system's authorities)."""
        self._timeout_s = timeout_s
        self._tls = tls
        # By when they were used last, the oldest first.
        self._idle: defaultdict[_Origin, deque[_Connection]] = defaultdict(deque)
        self._names = NameLookups(most=_MOST_LOOKUPS)

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        """Send a request and return its answer, whole.

        Errors: HttpClientError without an answer; TimeoutError; ValueError for a URL or a header that is none.
        """
        origin, target = _read_url(url)
        scheme, host, port = origin
        head = _render(method, target, host if port == _PORTS[scheme] else f"{host}:{port}", headers, body)
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        connection = self._take(origin)
        if connection is None:
            async with asyncio.timeout_at(deadline):
                connection = await self._connect(origin)
        try:
            answer = await connection.exchange(head + body if body else head, deadline)
        except BaseException:
            connection.abort()
            raise
        if connection.is_open:
            self._keep(origin, connection)
        return answer

    async def close(self) -> None:
        """Close the idle connections."""
        for connections in self._idle.values():
            for connection in connections:
                connection.abort()
        self._idle.clear()

    def _take(self, origin: _Origin) -> "_Connection | None":
        """Take the connection that was used last; those that went or grew stale meanwhile are closed."""
        connections = self._idle[origin]
        oldest = asyncio.get_running_loop().time() - _IDLE_S
        while connections:
            connection = connections.pop()
            if connection.is_open and connection.idle_since >= oldest:
                return connection
            connection.abort()
        return None

    def _keep(self, origin: _Origin, connection: "_Connection") -> None:
        """Keep a connection for the next request, and close those that a busier time has left behind."""
        connections, now = self._idle[origin], asyncio.get_running_loop().time()
        connection.idle_since = now
        connections.append(connection)
        while connections[0].idle_since < now - _IDLE_S:
            connections.popleft().abort()

    async def _connect(self, origin: _Origin) -> "_Connection":
        """Connect to the first address of a host that can be reached."""
        scheme, host, port = origin
        tls = (self._tls or ssl.create_default_context()) if scheme == "https" else None
        name = host if tls else None
        reason = "it has no address"
        try:
            for kind, _, _, _, (address, *_) in await self._names.look_up(host, port):
                try:
                    _, connection = await asyncio.get_running_loop().create_connection(
                        _Connection, address, port, family=kind, ssl=tls, server_hostname=name
                    )
                except OSError as error:
                    reason = str(error)
                else:
                    return connection
        except OSError as error:
            reason = str(error)
        raise HttpClientError(f"no connection to {host}: {reason}")


class _Connection(asyncio.Protocol):
    """One connection, and the answer that is on its way on it."""

    def __init__(self) -> None:
        self.idle_since = 0.0
        self.is_open = False
        self._waiting: asyncio.Future[Answer] | None = None

    async def exchange(self, request: bytes, deadline: float) -> Answer:
        """Send a request and return its answer. Errors: TimeoutError without one by then, on the loop's clock."""
        self._answer = Answer()
        self._parts: list[bytes] = []
        self._size = 0
        self._ends_with_connection = False
        self._parser = httptools.HttpResponseParser(self)
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        # PERF: `asyncio.timeout` costs 5 µs more.
        timer = loop.call_at(deadline, self._time_out)
        self._transport.write(request)
        try:
            return await self._waiting
        finally:
            timer.cancel()
            self._waiting = None
            # PERF: parser and connection hold each other, and with them a whole answer: for as long as the
            # connection is kept, and then until a search for cycles, which is rare.
            del self._parser, self._answer, self._parts

    def abort(self) -> None:
        """Close at once."""
        self.is_open = False
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready."""
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request that is under way, unless its answer ends with the connection."""
        self.is_open = False
        if self._waiting is None or self._waiting.done():
            return
        if self._ends_with_connection and exc is None:
            self._finish()
        else:
            self._fail(f"the connection was cut: {exc}")

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        if self._waiting is None or self._waiting.done():
            self.abort()  # nobody asked
            return
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"not HTTP: {error}")
        if self._size > _LONGEST_HEAD + _LONGEST_BODY:
            self._fail("an answer without end")

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Take one answer alone. Errors: HttpClientError, which ends the connection, for one behind it."""
        if self._waiting is None or self._waiting.done():
            raise HttpClientError("an answer that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        dict.__setitem__(self._answer.headers, name.decode("latin-1").lower(), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        """Take note of how the answer ends."""
        headers, status = self._answer.headers, self._parser.get_status_code()
        self._answer.status = status
        framed = "content-length" in headers or "transfer-encoding" in headers
        self._ends_with_connection = not framed and status not in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """Give the answer to who waits for it; go on where it was but an interim one."""
        if self._answer.status < HTTPStatus.OK:
            self._answer = Answer()
            return
        if not self._parser.should_keep_alive():
            self.is_open = False
            self._transport.close()
        self._finish()

    def _finish(self) -> None:
        self._answer.body = b"".join(self._parts)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(self._answer)

    def _time_out(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(TimeoutError())

    def _fail(self, reason: str) -> None:
        self.abort()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(HttpClientError(reason))


@lru_cache(maxsize=256)
def _read_url(url: str) -> tuple[_Origin, str]:
    parts: SplitResult = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"no HTTP URL: {url}")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return (parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]), target


def _render(method: str, target: str, host: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    lines = [
        f"{method} {target} HTTP/1.1\r\nHost: {host}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    head = "\r\n".join(lines)
    if head.count("\r") != len(lines) or head.count("\n") != len(lines):
        raise ValueError("a line break in a header")
    return f"{head}\r\n\r\n".encode("latin-1")
