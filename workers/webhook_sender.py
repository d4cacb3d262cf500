"""Webhooks over HTTP: one request, one answer, and never into our own network."""

import asyncio
import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import structlog
from opentelemetry.trace import SpanKind, Status, StatusCode

from domain.clock import Clock
from domain.notifications.decide import is_success
from domain.notifications.model import Answer, Answered, Unanswered
from domain.notifications.targets import is_public
from ops.tracing import inner_span, is_tracing, trace_failure
from workers.webhook_connections import Connector, Resolver

MAX_EXCERPT_BYTES = 500
"""How much of an answer is kept."""

_EXCERPT_TIMEOUT_S = 2.0
_MAX_RETRY_AFTER_CHARS = 40

log = structlog.get_logger(__name__)


class TargetRefused(OSError):
    """The name leads to an address that is not public."""


class AiohttpSender:
    """`domain.notifications.ports.WebhookSender` over one session of this process.

    Redirects are not followed, cookies not kept, environment proxies not used. The address is checked where the
    socket is made, after all resolving: a name that pointed elsewhere a moment ago gains nothing by it.
    """

    def __init__(
        self, clock: Clock, *, timeout_s: float, allow_private_targets: bool, most_lookups: int = 256
    ) -> None:
        """Keep how long a request may take in all, and how many names may be looked up at once.

        The session is opened at the first use, in its loop.
        """
        self._most_lookups = most_lookups
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._socket_factory = _any_socket if allow_private_targets else _public_socket
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Post a body, once, and return how it ended, within the timeout."""
        started_ns = time.time_ns()
        with inner_span("POST webhook", kind=SpanKind.CLIENT) as span:
            answer = await self._post(url, headers, body)
            if span is not None:
                span.set_attributes(_facts(url, answer))
                if not is_success(answer):
                    span.set_status(Status(StatusCode.ERROR))
            elif is_tracing() and not is_success(answer):
                trace_failure("POST webhook", started_ns, _facts(url, answer), kind=SpanKind.CLIENT)
            return answer

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        started = time.monotonic()
        try:
            async with self._open().post(url, data=body, headers=headers, allow_redirects=False) as response:
                latency_ms = _since(started)
                return Answered(
                    status=response.status,
                    latency_ms=latency_ms,
                    body_start=await _read_start(response),
                    retry_after_s=read_retry_after(response.headers.get("Retry-After"), self._clock.now()),
                )
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return Unanswered(_reason(error), _since(started))

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout,
                connector=Connector(
                    limit=0, resolver=Resolver(most=self._most_lookups), socket_factory=self._socket_factory
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # only the start is read, and nobody's bomb goes off here
                headers={
                    # What is kept of an answer is for people to read.
                    "Accept-Encoding": "identity",
                    "Content-Type": "application/json",
                    "User-Agent": f"MarketFlow/{version('marketflow')} (webhooks)",
                },
            )
        return self._session


def read_retry_after(value: str | None, now: datetime) -> float | None:
    """Return after how many seconds to come back (RFC 9110, 10.2.3); None for what cannot be read."""
    value = (value or "").strip()
    if not value or len(value) > _MAX_RETRY_AFTER_CHARS:
        return None
    if value.isdecimal() and value.isascii():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
        return max((at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds(), 0.0)
    except (ValueError, OverflowError):  # no date, or one of a time zone that there cannot be
        return None


def _any_socket(info: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, _ = info
    return socket.socket(family, kind, protocol)


def _public_socket(info: tuple[Any, ...]) -> socket.socket:
    address = info[4][0]
    if not is_public(address):
        log.warning("webhook_target_refused", address=address)
        raise TargetRefused("not a public address")
    return _any_socket(info)


async def _read_start(response: aiohttp.ClientResponse) -> str:
    """Return the start of an answer's body as text that PostgreSQL can hold.

    The status is known already, so whatever goes wrong here only makes the text shorter.
    """
    start = bytearray()
    try:
        async with asyncio.timeout(_EXCERPT_TIMEOUT_S):
            while len(start) < MAX_EXCERPT_BYTES and (part := await response.content.read(MAX_EXCERPT_BYTES)):
                start += part
    except (aiohttp.ClientError, OSError, TimeoutError):
        response.close()
    if not response.content.at_eof():
        response.close()
    return bytes(start[:MAX_EXCERPT_BYTES]).decode("utf-8", "replace").replace("\x00", "\ufffd")


_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (TimeoutError, "timeout"),
    (aiohttp.ClientConnectorDNSError, "name_not_resolved"),
    (aiohttp.ClientSSLError, "tls_failed"),
    (aiohttp.ClientConnectorError, "connection_failed"),
    (aiohttp.ClientResponseError, "answer_invalid"),
    (ValueError, "url_invalid"),
)
"""The first kind that fits counts."""


def _reason(error: BaseException) -> str:
    """Return a stable word for how a request failed."""
    if _was_refused(error):
        return "target_refused"
    return next((word for kind, word in _REASONS if isinstance(error, kind)), "connection_broken")


def _was_refused(error: BaseException | None) -> bool:
    seen = error
    while seen is not None:
        if isinstance(seen, TargetRefused) or isinstance(getattr(seen, "os_error", None), TargetRefused):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _facts(url: str, answer: Answer) -> dict[str, str | int]:
    """Say who was called and how that ended; a URL's path and query may be a customer's secret."""
    server = urlsplit(url).hostname or ""
    if isinstance(answer, Answered):
        return {"server.address": server, "http.response.status_code": answer.status}
    return {"server.address": server, "error.type": answer.reason}


def _since(started: float) -> int:
    return round(1000 * (time.monotonic() - started))
