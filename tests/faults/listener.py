"""A buyer who pays like others, and is told of everything: by webhooks to a server of its own, and on a stream."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpx
import psycopg

from api.client import Client
from api.client.events import EventStream
from tests.faults.receiver import Receiver, open_receiver
from tests.faults.sessions import PATIENT, log_in_new

_OPEN_S = 60.0

# Whatever concerns the listener is on its stream, and was promised to its endpoint when it happened. That it was
# created happened before there was an endpoint, and perhaps before the stream had begun.
_CONCERNING = """
    SELECT id::text FROM events
    WHERE position > %(after)s AND audience @> ARRAY[CAST(%(user_id)s AS uuid)]
        AND type <> 'user.created'
    ORDER BY position
"""
_WAITING = """
    SELECT count(*) FROM deliveries d JOIN webhook_endpoints w ON w.id = d.endpoint_id
    WHERE w.owner_id = %(user_id)s AND d.due_at IS NOT NULL
"""


@dataclass(slots=True)
class Listener:
    """What the buyer was told; `delivered` holds ids of events by webhook, `followed` those of the stream."""

    payer: Client
    user_id: str
    after: int
    """The position in the log from which on it is told."""
    delivered: Collection[str]
    receiver: Receiver
    """Where its webhooks come."""
    followed: list[str] = field(default_factory=list)
    _following: asyncio.Task[None] | None = None

    def follow(self, stream: EventStream) -> None:
        """Go on with a stream in the background, for as long as the world lasts."""
        self._following = asyncio.create_task(self._follow(stream))

    async def close(self) -> None:
        """Listen no more."""
        if self._following is not None:
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following

    def missing(self, connection: psycopg.Connection) -> list[str]:
        """Say what it should have been told by now, and was not, or not in this way."""
        values = {"user_id": self.user_id, "after": self.after}
        wanted = [event_id for (event_id,) in connection.execute(_CONCERNING, values)]
        waiting = [count for (count,) in connection.execute(_WAITING, values)]
        lost = set(wanted) - set(self.delivered)
        found = [f"event {event_id} was promised by webhook and never came" for event_id in sorted(lost)]
        if self.receiver.unbelieved:
            found.append(f"{self.receiver.unbelieved} webhooks could not be believed")
        if any(waiting):
            found.append(f"{waiting} webhooks are still due")
        if self.followed != wanted:
            found.append(_difference(self.followed, wanted))
        if self._following is not None and self._following.done():
            found.append(f"the stream has ended: {self._following}")
        return found

    async def _follow(self, stream: EventStream) -> None:
        async with stream:
            async for event in stream:
                if event["type"] != "user.created":
                    self.followed.append(event["id"])


@asynccontextmanager
async def open_listener(http: httpx.AsyncClient) -> AsyncIterator[Listener]:
    """Register the buyer, who pays over `http` and listens over connections of its own."""
    async with open_receiver() as receiver, httpx.AsyncClient(base_url=http.base_url, timeout=10) as own:
        payer, follower = (Client("", http=each, retry=PATIENT) for each in (http, own))
        user_id = await log_in_new(follower, "buyer")
        payer.credentials = follower.credentials
        path = await receiver.register(follower, ["*"])
        # Nothing happens to the buyer yet, so what is to come is the same on both ways.
        stream = follower.events()
        listener = Listener(payer, user_id, 0, receiver.heard[path], receiver)
        listener.follow(stream)
        try:
            async with asyncio.timeout(_OPEN_S):
                await stream.opened()
            listener.after = int(stream.position or 0)
            yield listener
        finally:
            await listener.close()


def _difference(followed: list[str], wanted: list[str]) -> str:
    place = next((n for n, (one, other) in enumerate(zip(followed, wanted, strict=False)) if one != other), None)
    if place is None:
        place = min(len(followed), len(wanted))
    return (
        f"the stream brought {len(followed)} events where {len(wanted)} happened, and from number {place} on"
        f" {followed[place : place + 2]} instead of {wanted[place : place + 2]}"
    )
