"""Sending requests, and sending them again where that is safe."""

import asyncio
import email.utils
import random
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from .errors import Unanswered

_REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_NO_CONTENT = 204
_NOT_FOUND = 404
_TOO_MANY = 429
# What a server, or a proxy before it, says when it may be able to answer a moment later.
_LATER = frozenset({502, 503, 504})
# The request has surely not reached the server.
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Retry:
    """How long and how soon to try again: for `for_s` in all, after pauses that double from `base_s` to `cap_s`.

    The pauses are shortened at random, so that clients whose server came back do not come all at once. A longer
    `Retry-After` of the server is honoured.
    """

    for_s: float = 60.0
    base_s: float = 0.1
    cap_s: float = 5.0

    def pause_s(self, attempt: int) -> float:
        """Return how long to wait after an attempt; the first has the number 0."""
        longest = min(self.cap_s, self.base_s * 2.0 ** min(attempt, 30))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


NEVER = Retry(for_s=0.0)
"""For who wants to see every answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent. With a `key` it can be repeated whatever the method; `repeatable` says so without one.

    A DELETE that is repeated has done its work where the answer is one of `gone`.
    """

    method: str
    path: str
    body: Any = None
    query: Mapping[str, Any] | None = None
    headers: Mapping[str, str] | None = None
    key: str | None = None
    repeatable: bool = False
    timeout_s: float | None = None
    gone: frozenset[int] = frozenset({_NOT_FOUND})

    @property
    def is_repeatable(self) -> bool:
        """Whether doing it twice does what doing it once does."""
        return self.repeatable or self.key is not None or self.method in _REPEATABLE

    def all_headers(self, more: Mapping[str, str]) -> dict[str, str]:
        """Return its headers and others."""
        keyed = {"Idempotency-Key": self.key} if self.key is not None else {}
        return {**more, **(self.headers or {}), **keyed}


class Sender:
    """Sends requests over one pool of connections."""

    def __init__(self, http: httpx.AsyncClient, address: str, retry: Retry) -> None:
        """Keep the pool, what paths follow, and how to repeat."""
        self.http = http
        self.address = address
        self.retry = retry

    async def send(self, request: Request, headers: Mapping[str, str]) -> httpx.Response:
        """Return the answer, after as many attempts as are safe and in time.

        What an attempt without an answer may have deleted, and is gone now, is answered as deleted. Errors:
        Unanswered when none came.
        """
        deadline = time.monotonic() + self.retry.for_s
        attempt, may_be_done = 0, False
        while True:
            try:
                answer = await self._send_once(request, headers)
            except httpx.TransportError as error:
                pause_s = self.retry.pause_s(attempt)
                was_sent = not isinstance(error, _NEVER_SENT)
                may_be_done |= was_sent
                may_repeat = request.is_repeatable or not was_sent
                if not may_repeat or time.monotonic() + pause_s > deadline:
                    text = f"{request.method} {request.path}: {type(error).__name__} {error}".rstrip()
                    raise Unanswered(text, key=request.key) from error
            else:
                if not _wants_another(request, answer):
                    return _deleted(answer) if may_be_done and _is_gone(request, answer) else answer
                may_be_done |= answer.status_code in _LATER
                pause_s = max(self.retry.pause_s(attempt), retry_after_s(answer) or 0.0)
                if time.monotonic() + pause_s > deadline:
                    return answer
            await asyncio.sleep(pause_s)
            attempt += 1

    async def _send_once(self, request: Request, headers: Mapping[str, str]) -> httpx.Response:
        return await self.http.request(
            request.method,
            self.address + request.path,
            json=request.body,
            params=request.query,
            headers=request.all_headers(headers),
            timeout=request.timeout_s or httpx.USE_CLIENT_DEFAULT,
        )


def new_key() -> str:
    """Return a new idempotency key."""
    return str(uuid.uuid4())


def retry_after_s(answer: httpx.Response) -> float | None:
    """Return how long the server asks to wait: seconds, or until a date (RFC 9110, section 10.2.3)."""
    header = answer.headers.get("Retry-After", "")
    if header.isdecimal():
        return float(header)
    try:
        at = email.utils.parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    if at.tzinfo is None:
        return None  # of no known zone: an HTTP date is in GMT
    return max(0.0, at.timestamp() - time.time())


def _wants_another(request: Request, answer: httpx.Response) -> bool:
    """Tell whether the same request may be answered otherwise later.

    What was refused for its number was not done; what was not answered for a fault may have been.
    """
    return answer.status_code == _TOO_MANY or (answer.status_code in _LATER and request.is_repeatable)


def _is_gone(request: Request, answer: httpx.Response) -> bool:
    return request.method == "DELETE" and answer.status_code in request.gone


def _deleted(answer: httpx.Response) -> httpx.Response:
    return httpx.Response(_NO_CONTENT, request=answer.request)
