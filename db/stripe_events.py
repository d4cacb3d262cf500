"""The inbox of Stripe's webhooks in PostgreSQL."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from db.connection import Connection
from db.sql import Sql
from domain.settlement.model import Arrival, ChargeReport, EventWindow, StripeEvent, StripeEventStatus

# What an event tells of a payment that is booked to the last cent, fee and all, is known.
_IS_TOLD = "p.fee_minor IS NOT NULL AND n.object_id IN (p.stripe_intent_id, p.stripe_charge_id)"
# Sorted by id, so that two batches with the same events wait for each other in one order.
# PERF: an event that tells what is known costs one row that is written once.
_ADD = Sql(
    f"""
    WITH come AS MATERIALIZED (
        SELECT n.id, n.type, n.body, n.received_at,
               CASE WHEN {_IS_TOLD} THEN 'told'
                    WHEN p.locked_until > n.received_at THEN 'awaited' ELSE 'news' END AS arrival
        FROM unnest(CAST(:id AS text[]), CAST(:type AS text[]), CAST(:body AS text[]),
                    CAST(:received_at AS timestamptz[]), CAST(:payment_id AS uuid[]), CAST(:object_id AS text[]))
            AS n (id, type, body, received_at, payment_id, object_id)
        LEFT JOIN payments p ON p.id = n.payment_id
    ),
    added AS (
        INSERT INTO stripe_events (id, type, body, status, received_at, handled_at, due_at, publish_at)
        SELECT id, type, body, CASE arrival WHEN 'told' THEN 'processed' ELSE 'received' END, received_at,
               CASE arrival WHEN 'told' THEN received_at END,
               CASE WHEN arrival <> 'told' THEN received_at END,
               CASE WHEN arrival <> 'told' THEN CAST(:publish_at AS timestamptz) END
        FROM come ORDER BY id
        ON CONFLICT (id) DO NOTHING
        RETURNING id
    )
    SELECT id, arrival FROM added JOIN come USING (id)
    """
)
_LEASE = Sql(
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
# The newest first, by an index of those that nobody has tried.
_LEASE_NEWEST = Sql(
    """
    WITH free AS (
        SELECT id FROM stripe_events
        WHERE attempts = 0 AND due_at <= :now
        ORDER BY received_at DESC LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    UPDATE stripe_events e
    SET attempts = e.attempts + 1, locked_until = :locked_until, publish_at = :locked_until
    FROM free WHERE e.id = free.id
    RETURNING e.id, e.type, e.body, e.received_at, e.attempts
    """
)
_FINISH = Sql(
    """
    UPDATE stripe_events e
    SET status = n.status, handled_at = :at, due_at = NULL, publish_at = NULL, locked_until = NULL
    FROM unnest(CAST(:ids AS text[]), CAST(:statuses AS text[])) AS n (id, status)
    WHERE e.id = n.id
    """
)
_FINISH_BOOKED = Sql(
    f"""
    WITH booked AS (
        SELECT e.id
        FROM unnest(CAST(:ids AS text[]), CAST(:payment_ids AS uuid[]), CAST(:object_ids AS text[]))
            AS n (id, payment_id, object_id)
        JOIN payments p ON p.id = n.payment_id AND {_IS_TOLD}
        JOIN stripe_events e ON e.id = n.id AND e.due_at IS NOT NULL AND e.attempts = 0
        ORDER BY e.id FOR UPDATE OF e SKIP LOCKED
    )
    UPDATE stripe_events e SET status = 'processed', handled_at = :at, due_at = NULL, publish_at = NULL
    FROM booked WHERE e.id = booked.id
    RETURNING e.id
    """
)
_MISSING = Sql(
    """
    SELECT id FROM unnest(CAST(:ids AS text[])) AS asked (id)
    WHERE NOT EXISTS (SELECT FROM stripe_events e WHERE e.id = asked.id)
    ORDER BY id
    """
)
_AGAIN = Sql(
    """
    WITH handled AS (
        SELECT id FROM stripe_events
        WHERE due_at IS NULL AND handled_at >= :since AND handled_at < :handled_before
            AND received_at >= :since AND received_at < :until AND type LIKE :pattern
        ORDER BY handled_at LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    UPDATE stripe_events e
    SET status = 'received', handled_at = NULL, attempts = 0, due_at = :now, publish_at = :now
    FROM handled WHERE e.id = handled.id
    """
)
# In two parts, each of which has its index: those that wait, and those that are handled.
_COUNT = Sql(
    """
    SELECT status, count(*) FROM (
        SELECT status FROM stripe_events
        WHERE publish_at IS NOT NULL AND received_at >= :since AND received_at < :until AND type LIKE :pattern
        UNION ALL
        SELECT status FROM stripe_events
        WHERE due_at IS NULL AND handled_at >= :handled_since
            AND received_at >= :since AND received_at < :until AND type LIKE :pattern
    ) AS found
    GROUP BY status ORDER BY status
    """
)
_PRUNE = Sql(
    """
    DELETE FROM stripe_events WHERE id IN (
        SELECT id FROM stripe_events
        WHERE due_at IS NULL AND handled_at < :before AND status <> 'quarantined'
        ORDER BY handled_at LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    """
)


class StripeEvents:
    """`domain.settlement.inbox.ports.StripeEventRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def add(self, events: Sequence[StripeEvent], *, publish_at: datetime) -> Mapping[str, Arrival]:
        """Insert events that are new; return, by id, what is to do about each."""
        ordered = sorted(events, key=lambda event: event.id)
        names = ("id", "type", "body", "received_at")
        columns: dict[str, object] = {name: [getattr(event, name) for event in ordered] for name in names}
        columns["payment_id"] = [event.report and event.report.payment_id for event in ordered]
        columns["object_id"] = [event.report and event.report.object_id for event in ordered]
        rows = await self._connection.execute(_ADD, {"publish_at": publish_at, **columns})
        return {row.id: Arrival(row.arrival) for row in rows}

    async def lease(self, ids: Sequence[str], now: datetime, locked_until: datetime) -> Sequence[StripeEvent]:
        """Take those of the events that are due and that nobody holds; counts the attempt."""
        values = {"ids": list(ids), "now": now, "locked_until": locked_until}
        return [StripeEvent(**row._mapping) for row in await self._connection.execute(_LEASE, values)]

    async def lease_newest(self, limit: int, now: datetime, locked_until: datetime) -> Sequence[StripeEvent]:
        """Take those due events that came last and that nobody has tried; counts the attempt."""
        values = {"limit": limit, "now": now, "locked_until": locked_until}
        return [StripeEvent(**row._mapping) for row in await self._connection.execute(_LEASE_NEWEST, values)]

    async def finish(self, statuses: Mapping[str, StripeEventStatus], at: datetime) -> None:
        """Write what became of events, and end their leases."""
        if statuses:
            ids = sorted(statuses)
            values = {"ids": ids, "statuses": [statuses[event_id] for event_id in ids], "at": at}
            await self._connection.execute(_FINISH, values)

    async def finish_booked(self, reports: Mapping[str, ChargeReport], at: datetime) -> Collection[str]:
        """Mark events as processed whose payments are booked, and that nobody has tried; return their ids."""
        ordered = sorted(reports)
        values = {
            "ids": ordered,
            "payment_ids": [reports[event_id].payment_id for event_id in ordered],
            "object_ids": [reports[event_id].object_id for event_id in ordered],
            "at": at,
        }
        return frozenset((await self._connection.execute(_FINISH_BOOKED, values)).scalars())

    async def missing(self, ids: Sequence[str]) -> Collection[str]:
        """Return those of the ids under which nothing is stored."""
        return frozenset((await self._connection.execute(_MISSING, {"ids": list(ids)})).scalars())

    async def again(self, window: EventWindow, *, handled_before: datetime, now: datetime, limit: int) -> int:
        """Make events of a window that were handled before that time due again, as if new; return how many."""
        values = {**_of(window), "handled_before": handled_before, "now": now, "limit": limit}
        return (await self._connection.execute(_AGAIN, values)).rowcount

    async def count(self, window: EventWindow, *, handled_since: datetime) -> Mapping[StripeEventStatus, int]:
        """Count the events received in that window that wait, or were handled since that time, by status."""
        rows = await self._connection.execute(_COUNT, {**_of(window), "handled_since": handled_since})
        return {StripeEventStatus(row.status): row.count for row in rows}

    async def prune(self, before: datetime, *, limit: int) -> int:
        """Delete events that were handled before that time, but none in quarantine; return how many."""
        return (await self._connection.execute(_PRUNE, {"before": before, "limit": limit})).rowcount


def _of(window: EventWindow) -> dict[str, object]:
    """Return a window as the statements take it, its type as a pattern of LIKE."""
    literal = (window.type or "*").replace("_", r"\_")
    pattern = f"{literal[:-1]}%" if literal.endswith("*") else literal
    return {"since": window.since, "until": window.until, "pattern": pattern}
