"""`/v1/events`: what happens to one's own orders and payments, as it happens (server-sent events)."""

import json
import random
import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

from falcon.asgi import Request, Response, SSEvent

from api.errors import BadRequest
from api.identity.authenticator import Authenticator
from api.metrics import STREAMS_CUT, STREAMS_OPEN
from api.middleware.authentication import read_bearer
from api.operations import operation
from api.schemas import EventAnswer
from api.webhooks.examples import EVENT
from domain.errors import DomainError
from domain.feed.model import LoggedEvent
from domain.feed.service import EventFeed
from domain.feed.subscription import Subscription

_POSITION = re.compile(r"[0-9]{1,18}")
# Where a process ends, all its clients come back at once; each at a moment of its own.
_RETRY_MS = (500, 3_000)
# Text may hold them, and many a client's own notion of a line ends there; in JSON they may be written like this.
_SEPARATORS = str.maketrans({"\u0085": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})

_EXAMPLE = (
    "retry: 1200\nid: 4711\n\n"
    f"id: 4715\nevent: {EVENT['type']}\ndata: {json.dumps(EVENT)}\n\n"
    ": still here\nid: 4720\n\n"
)


class Chunk(SSEvent):
    """A part of a stream that is rendered already."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        """Keep the bytes."""
        super().__init__()
        self._content = content

    def serialize(self, handler: Any = None) -> bytes:
        """Return the bytes."""
        return self._content


class Events:
    """The stream of events."""

    def __init__(self, feed: EventFeed, authenticator: Authenticator, *, heartbeat_s: float) -> None:
        """Keep the feed, what checks credentials, and how long a stream may be silent."""
        self._feed = feed
        self._authenticator = authenticator
        self._heartbeat_s = heartbeat_s

    @operation(
        "Follow one's events; `Last-Event-ID` resumes after one",
        "results",
        EventAnswer,
        media_type="text/event-stream",
        resumes=True,
        example=_EXAMPLE,
    )
    async def on_get(self, req: Request, resp: Response) -> None:
        """Stream the caller's events from now on, or from the one on that came after the last."""
        after = await self._feed.place(read_position(req.get_header("Last-Event-ID")))
        self._feed.check_room(req.context.principal)
        resp.set_header("X-Accel-Buffering", "no")  # nginx would keep events back until a buffer is full
        resp.sse = self._stream(req, after)

    async def _stream(self, req: Request, after: int | None) -> AsyncIterator[SSEvent | None]:
        """Yield the events until the client goes, its session or key ends, it is too slow, or the process ends.

        The first bytes of a new stream say that whatever happens from now on will come.
        """
        STREAMS_OPEN.inc()
        try:
            with self._feed.subscribe(req.context.principal, after) as subscription:
                if after is not None or await subscription.begun(self._heartbeat_s):
                    yield Chunk(greeting(subscription))
                    async for chunk in self._chunks(req, subscription):
                        yield chunk
                if subscription.is_cut:
                    STREAMS_CUT.inc()
        finally:
            STREAMS_OPEN.dec()

    async def _chunks(self, req: Request, subscription: Subscription) -> AsyncIterator[Chunk]:
        while not subscription.is_over:
            items = await subscription.take(self._heartbeat_s)
            if not await self._may_go_on(req):
                return
            yield Chunk(b"".join(item.payload for item in items) if items else heartbeat(subscription))

    async def _may_go_on(self, req: Request) -> bool:
        """Whether the credential still holds, so that nothing is told to whom its session or key ended for."""
        credential = read_bearer(req)
        try:
            return bool(self._authenticator.known(credential) or await self._authenticator.prove(credential))
        except DomainError:
            return False


def render_event(logged: LoggedEvent) -> bytes:
    """Return an event as it goes over the wire; its id is its position."""
    data = EventAnswer.model_validate(logged.event, from_attributes=True).model_dump_json()
    # PERF: nearly all are ASCII, and to know that costs nothing.
    data = data if data.isascii() else data.translate(_SEPARATORS)
    return f"id: {logged.position}\nevent: {logged.event.type}\ndata: {data}\n\n".encode()


def greeting(subscription: Subscription) -> bytes:
    """Return what opens a stream: its place, so that an early break loses nothing, and when to come back."""
    retry_ms = random.randint(*_RETRY_MS)  # noqa: S311 - no secret
    return f"retry: {retry_ms}\nid: {subscription.position}\n\n".encode()


def heartbeat(subscription: Subscription) -> bytes:
    """Return a sign of life that moves the client's place on, past what does not concern it."""
    return f": still here\nid: {subscription.position}\n\n".encode()


def read_position(last_event_id: str | None) -> int | None:
    """Return the position after which a client wants to go on. Errors: BadRequest `last_event_id_invalid`."""
    if last_event_id is None:
        return None
    if not _POSITION.fullmatch(last_event_id):
        raise BadRequest(HTTPStatus.BAD_REQUEST, "last_event_id_invalid", "this Last-Event-ID is not one of ours")
    return int(last_event_id)
