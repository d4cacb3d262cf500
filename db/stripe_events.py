"""The inbox of Stripe's webhooks in PostgreSQL."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import text

from db.connection import Connection
from domain.settlement.model import StripeEvent, StripeEventStatus

# Sorted by id, so that two batches with the same events wait for each other in one order.
_ADD = text(
    """
    INSERT INTO stripe_events (id, type, body, status, received_at, due_at, publish_at)
    SELECT id, type, body, 'received', received_at, received_at, :publish_at
    FROM unnest(CAST(:id AS text[]), CAST(:type AS text[]), CAST(:body AS text[]),
                CAST(:received_at AS timestamptz[])) AS n (id, type, body, received_at)
    ON CONFLICT (id) DO NOTHING
    RETURNING id
    """
)
_LEASE = text(
    """
    WITH free AS (
        SELECT id FROM stripe_events
        WHERE id = ANY(:ids) AND due_at <= :now AND (locked_until IS NULL OR locked_until <= :now)
        ORDER BY id FOR UPDATE SKIP LOCKED
    )
    UPDATE stripe_events e
    SET attempts = e.attempts + 1, locked_until = :locked_until, publish_at = :locked_until
    FROM free WHERE e.id = free.id
    RETURNING e.id, e.type, e.body, e.received_at, e.attempts
    """
)
_FINISH = text(
    """
    UPDATE stripe_events e
    SET status = n.status, handled_at = :at, due_at = NULL, publish_at = NULL, locked_until = NULL
    FROM unnest(CAST(:ids AS text[]), CAST(:statuses AS text[])) AS n (id, status)
    WHERE e.id = n.id
    """
)


class StripeEvents:
    """`domain.settlement.ports.StripeEventRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def add(self, events: Sequence[StripeEvent], *, publish_at: datetime) -> Collection[str]:
        """Insert events that are new, and return their ids."""
        ordered = sorted(events, key=lambda event: event.id)
        names = ("id", "type", "body", "received_at")
        columns = {name: [getattr(event, name) for event in ordered] for name in names}
        rows = await self._connection.execute(_ADD, {"publish_at": publish_at, **columns})
        return frozenset(rows.scalars())

    async def lease(self, ids: Sequence[str], now: datetime, locked_until: datetime) -> Sequence[StripeEvent]:
        """Take those of the events that are due and that nobody holds; counts the attempt."""
        values = {"ids": list(ids), "now": now, "locked_until": locked_until}
        return [StripeEvent(**row._mapping) for row in await self._connection.execute(_LEASE, values)]

    async def finish(self, statuses: Mapping[str, StripeEventStatus], at: datetime) -> None:
        """Write what became of events, and end their leases."""
        if statuses:
            ids = sorted(statuses)
            values = {"ids": ids, "statuses": [statuses[event_id] for event_id in ids], "at": at}
            await self._connection.execute(_FINISH, values)
