"""Deliveries to webhook endpoints in PostgreSQL. `db/events.py` inserts them, with the events."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from db.connection import Connection, Row
from db.events import PASSES
from db.sql import Sql
from domain.ids import DeliveryId, EventId, PaymentId, WebhookEndpointId, lowest_uuid7
from domain.notifications.model import (
    Attempt,
    Conclusion,
    Delivery,
    DeliveryStatus,
    LeasedDelivery,
    Origin,
    Redelivery,
    WebhookEndpoint,
)
from domain.pages import Page, PageRequest

LOG_LENGTH = 10
"""How many of a delivery's attempts are shown."""
MAX_SCANNED = 50_000
"""How many events one redelivery looks at."""

# An event's id is made after its `created_at` was read from the clock, and by another clock than the caller's.
_ID_MARGIN = timedelta(minutes=5)

_SELECT = f"""
    SELECT d.id, d.endpoint_id, d.event_id, e.type AS event_type, d.status, d.attempts, d.due_at, d.locked_until,
           d.created_at, (
               SELECT json_agg(a ORDER BY a.number DESC)
               FROM (SELECT number, at, latency_ms, response_status, response_start, error
                     FROM delivery_attempts WHERE delivery_id = d.id ORDER BY number DESC LIMIT {LOG_LENGTH}) a
           ) AS log
    FROM deliveries d JOIN events e ON e.id = d.event_id
"""
_BY_ID = Sql(f"{_SELECT} WHERE d.id = :id")
_PAGE_HEAD = "d.endpoint_id = :endpoint_id AND (CAST(:after AS uuid) IS NULL OR d.event_id < :after)"
_PAGE = Sql(f"{_SELECT} WHERE {_PAGE_HEAD} ORDER BY d.event_id DESC LIMIT :limit")
_PAGE_OF_STATUS = Sql(f"{_SELECT} WHERE {_PAGE_HEAD} AND d.status = :status ORDER BY d.event_id DESC LIMIT :limit")
# The request that asked for what an event `e` is about: the nearest that there is.
_ORIGIN = """
    coalesce(
        (SELECT ARRAY[CAST(r.payment_id AS text), r.traceparent, r.request_id] FROM refunds r
         WHERE r.id = CAST(e.data ->> 'refund_id' AS uuid) AND r.request_id IS NOT NULL),
        (SELECT ARRAY[NULL, t.traceparent, t.request_id] FROM payouts t WHERE t.id = e.subject_id),
        (SELECT ARRAY[CAST(p.id AS text), p.traceparent, p.request_id] FROM payments p
         WHERE p.id = coalesce(CAST(e.data ->> 'payment_id' AS uuid), e.subject_id)),
        (SELECT ARRAY[NULL, a.traceparent, a.request_id] FROM seller_accounts a
         WHERE a.seller_id = e.subject_id
            AND e.type LIKE ANY (ARRAY['seller.onboarding%', 'seller.payouts%'])))
"""
# The endpoints are locked, so nobody else counts or takes their rows at the same time. A leased row is due again
# when its lease ends.
_LEASE = Sql(
    f"""
    WITH free AS (
        SELECT due.id, busy.count AS busy
        FROM unnest(CAST(:endpoint_ids AS uuid[]), CAST(:rooms AS integer[])) AS n (endpoint_id, room)
        CROSS JOIN LATERAL (
            SELECT count(*) FROM deliveries b WHERE b.endpoint_id = n.endpoint_id AND b.locked_until > :now
        ) AS busy
        CROSS JOIN LATERAL (
            SELECT oldest.id, row_number() OVER (ORDER BY oldest.due_at, oldest.id) AS place
            FROM (
                SELECT d.id, d.due_at FROM deliveries d
                WHERE d.endpoint_id = n.endpoint_id AND d.due_at <= :now
                ORDER BY d.due_at, d.id LIMIT greatest(n.room - busy.count, 0)
            ) AS oldest
        ) AS due
        ORDER BY busy.count + due.place, due.id LIMIT :limit
    )
    UPDATE deliveries d
    SET attempts = d.attempts + 1, tries = d.tries + 1, locked_until = :locked_until, due_at = :locked_until
    FROM free, events e
    WHERE d.id = free.id AND d.due_at <= :now AND e.id = d.event_id
    RETURNING d.id, d.endpoint_id, d.attempts, d.tries, free.busy, d.sequence, d.event_id, e.type AS event_type,
              e.subject_id, e.data, e.created_at AS occurred_at, {_ORIGIN} AS origin
    """
)
_CONCLUDE = Sql(
    """
    WITH logged AS (
        INSERT INTO delivery_attempts (
            delivery_id, number, at, latency_ms, response_status, response_start, error)
        SELECT * FROM unnest(
            CAST(:id AS uuid[]), CAST(:number AS integer[]), CAST(:at AS timestamptz[]),
            CAST(:latency_ms AS integer[]), CAST(:response_status AS integer[]), CAST(:response_start AS text[]),
            CAST(:error AS text[]))
        ON CONFLICT (delivery_id, number) DO NOTHING
    )
    UPDATE deliveries d
    SET status = n.status, due_at = n.due_at, locked_until = NULL
    FROM unnest(CAST(:id AS uuid[]), CAST(:number AS integer[]), CAST(:status AS text[]),
                CAST(:due_at AS timestamptz[])) AS n (id, attempts, status, due_at)
    WHERE d.id = n.id AND d.attempts = n.attempts AND d.locked_until IS NOT NULL
    """
)
_ASK_AGAIN = Sql(
    """
    UPDATE deliveries SET status = 'pending', tries = 0, due_at = :at, locked_until = NULL WHERE id = :id
    """
)
# The events that one asks for, as `a`, to the endpoint that asks.
_ASKED = f"""
    INSERT INTO deliveries AS d (id, endpoint_id, event_id, sequence, status, due_at, created_at)
    SELECT uuidv7(), w.id, a.id, a.position, 'pending', :at, :at
    FROM seen a JOIN webhook_endpoints w ON w.id = :endpoint_id
    WHERE (w.sees_all OR w.owner_id = ANY(a.audience)) AND {PASSES} AND {{wanted}}
    ORDER BY a.id
    ON CONFLICT (endpoint_id, event_id) DO UPDATE
        SET status = 'pending', tries = 0, due_at = :at, locked_until = NULL
        WHERE {{again}}
    RETURNING d.id
"""
_ASK_AGAIN_FOR = Sql(
    f"""
    WITH seen AS (SELECT id, type, position, audience FROM events WHERE id = ANY(CAST(:event_ids AS uuid[]))),
    asked AS ({_ASKED.format(wanted="true", again="d.locked_until IS NULL OR d.locked_until <= :at")})
    SELECT count(*) FROM asked
    """
)
_ASKED_BETWEEN = _ASKED.format(
    wanted="a.created_at >= :since AND a.created_at < :until",
    again="d.status = 'failed' OR (d.status = 'delivered' AND NOT :only_failed)",
)
_ASK_AGAIN_BETWEEN = Sql(
    f"""
    WITH seen AS MATERIALIZED (
        SELECT id, type, position, audience, created_at FROM events
        WHERE id > :after AND id < :highest ORDER BY id LIMIT :most
    ),
    asked AS ({_ASKED_BETWEEN})
    SELECT (SELECT count(*) FROM asked) AS scheduled, (SELECT count(*) FROM seen) AS seen,
           (SELECT id FROM seen ORDER BY id DESC LIMIT 1) AS last_id
    """
)
# Ids are made in the order of time, so the oldest are the first. What an enabled endpoint still waits for stays,
# and what nobody will ever ask for again goes at once.
_PRUNE = Sql(
    """
    WITH over AS (
        (SELECT d.id FROM deliveries d JOIN webhook_endpoints w ON w.id = d.endpoint_id
         WHERE d.id < :lowest AND d.locked_until IS NULL AND (d.status <> 'pending' OR w.status <> 'enabled')
         ORDER BY d.id LIMIT :limit)
        UNION ALL
        (SELECT d.id FROM webhook_endpoints w JOIN deliveries d ON d.endpoint_id = w.id
         WHERE w.status = 'deleted' AND d.due_at <= :now AND d.id >= :lowest
         ORDER BY d.id LIMIT :limit)
        LIMIT :limit
    ),
    locked AS (
        SELECT d.id FROM deliveries d JOIN over USING (id) ORDER BY d.id FOR UPDATE OF d SKIP LOCKED
    ),
    attempts AS (DELETE FROM delivery_attempts a USING locked WHERE a.delivery_id = locked.id)
    DELETE FROM deliveries d USING locked WHERE d.id = locked.id
    """
)


class Deliveries:
    """`domain.notifications.ports.DeliveryRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def by_id(self, delivery_id: DeliveryId) -> Delivery | None:
        """Return a delivery with the newest of its attempts."""
        row = (await self._connection.execute(_BY_ID, {"id": delivery_id})).first()
        return _delivery(row) if row else None

    async def page(
        self, endpoint_id: WebhookEndpointId, request: PageRequest, *, status: DeliveryStatus | None
    ) -> Page[Delivery]:
        """Return a page of an endpoint's deliveries, the newest event first; the cursor is an event's id."""
        values: dict[str, object] = {
            "endpoint_id": endpoint_id,
            "after": request.after,
            "limit": request.limit + 1,
        }
        if status is not None:
            values["status"] = status
        found = await self._connection.execute(_PAGE if status is None else _PAGE_OF_STATUS, values)
        rows = [_delivery(row) for row in found]
        page = rows[: request.limit]
        return Page(page, page[-1].event_id if len(rows) > request.limit else None)

    async def lease(
        self, rooms: Mapping[WebhookEndpointId, int], now: datetime, locked_until: datetime, *, limit: int
    ) -> Sequence[LeasedDelivery]:
        """Take due deliveries of locked endpoints, as many of each as it has room for."""
        if not rooms:
            return []
        values = {
            "endpoint_ids": list(rooms),
            "rooms": list(rooms.values()),
            "now": now,
            "locked_until": locked_until,
            "limit": limit,
        }
        return [_read_leased(row) for row in await self._connection.execute(_LEASE, values)]

    async def conclude(self, conclusions: Sequence[Conclusion]) -> None:
        """Write what became of leased deliveries, log the attempts, and end the leases.

        What somebody else has leased since, because it took too long, is logged and left to that one.
        """
        attempts = [one.attempt for one in conclusions]
        columns = {
            "id": [one.delivery.id for one in conclusions],
            "status": [one.status for one in conclusions],
            "due_at": [one.due_at for one in conclusions],
            **{
                name: [getattr(attempt, name) for attempt in attempts]
                for name in ("number", "at", "latency_ms", "response_status", "response_start", "error")
            },
        }
        await self._connection.execute(_CONCLUDE, columns)

    async def ask_again(self, delivery_id: DeliveryId, at: datetime) -> None:
        """Make a delivery of a locked endpoint due, as if it were new."""
        await self._connection.execute(_ASK_AGAIN, {"id": delivery_id, "at": at})

    async def ask_again_for(
        self, endpoint: WebhookEndpoint, event_ids: Sequence[EventId], at: datetime
    ) -> Redelivery:
        """Make deliveries of named events due that a locked endpoint wants and its owner may see."""
        values = {"endpoint_id": endpoint.id, "event_ids": list(event_ids), "at": at}
        return Redelivery((await self._connection.execute(_ASK_AGAIN_FOR, values)).scalar_one(), None)

    async def ask_again_between(
        self,
        endpoint: WebhookEndpoint,
        since: datetime,
        until: datetime,
        at: datetime,
        *,
        only_failed: bool,
        after: EventId | None = None,
    ) -> Redelivery:
        """Make deliveries of the events that a locked endpoint wants due, from a time up to another."""
        values = {
            "endpoint_id": endpoint.id,
            "since": since,
            "until": until,
            "after": after or lowest_uuid7(since - _ID_MARGIN),
            "highest": lowest_uuid7(until + _ID_MARGIN),
            "at": at,
            "only_failed": only_failed,
            "most": MAX_SCANNED,
        }
        row = (await self._connection.execute(_ASK_AGAIN_BETWEEN, values)).one()
        return Redelivery(row.scheduled, row.last_id if row.seen == MAX_SCANNED else None)

    async def prune(self, before: datetime, now: datetime, *, limit: int) -> int:
        """Delete deliveries promised before that time, and what waits for deleted endpoints; return how many."""
        values = {"lowest": lowest_uuid7(before), "now": now, "limit": limit}
        return (await self._connection.execute(_PRUNE, values)).rowcount


def _delivery(row: Row) -> Delivery:
    log = tuple(Attempt(**{**line, "at": datetime.fromisoformat(line["at"])}) for line in row.log or ())
    return Delivery(**{**row._mapping, "status": DeliveryStatus(row.status), "log": log})


def _read_leased(row: Row) -> LeasedDelivery:
    origin = None
    if row.origin is not None:
        payment_id, traceparent, request_id = row.origin
        origin = Origin(PaymentId(UUID(payment_id)) if payment_id else None, traceparent, request_id)
    return LeasedDelivery(**{**row._mapping, "origin": origin})
