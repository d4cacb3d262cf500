"""The event log in PostgreSQL."""

import json
from collections.abc import Sequence
from uuid import UUID

from db.arrays import write_array
from db.connection import Connection
from db.paging import cut
from db.sql import Sql
from domain.events import Event
from domain.ids import UserId, WebhookEndpointId
from domain.pages import LONGEST_PAGE, Page, PageRequest

PASSES = "w.events && ARRAY['*', a.type, split_part(a.type, '.', 1) || '.*']"
"""Whether an event `a` is among those that an endpoint `w` asked for; `domain.event_types.passes` in SQL."""

LETS_IN = "NOT EXISTS (SELECT FROM users u WHERE u.id = w.owner_id AND u.suspended_at IS NOT NULL)"
"""Whether the owner of an endpoint `w` is not suspended: a suspended user is told nothing."""

PROMISE = f"""
    INSERT INTO deliveries (id, endpoint_id, event_id, sequence, status, due_at, created_at)
    SELECT uuidv7(), w.id, a.id, a.position, 'pending', a.created_at, a.created_at
    FROM a JOIN webhook_endpoints w
        ON w.listens_to = ANY(a.audience || CAST('00000000-0000-0000-0000-000000000000' AS uuid))
    WHERE w.status = 'enabled' AND {PASSES} AND {LETS_IN}
    RETURNING endpoint_id
"""
"""Promises the events that the same statement calls `a` to the endpoints that want them.

Endpoints of users who may see every event listen to the nil UUID, so that one look into one index finds all
endpoints for an event. If there are none, that look is all it costs.
"""

# unnest flattens an array of arrays, so each audience is sent as the text of an array.
_APPEND = Sql(
    f"""
    WITH a AS (
        INSERT INTO events (id, type, subject_id, data, created_at, audience)
        SELECT id, type, subject_id, data, created_at, CAST(audience AS uuid[])
        FROM unnest(CAST(:id AS uuid[]), CAST(:type AS text[]), CAST(:subject_id AS uuid[]),
                    CAST(:data AS jsonb[]), CAST(:created_at AS timestamptz[]), CAST(:audience AS text[]))
            AS n (id, type, subject_id, data, created_at, audience)
        RETURNING id, type, position, created_at, audience
    )
    {PROMISE}
    """
)
_OF_SUBJECT = Sql(
    """
    SELECT id, type, subject_id, data, created_at, audience FROM events
    WHERE subject_id = :subject_id AND position > coalesce(
        (SELECT a.position FROM events a WHERE a.subject_id = :subject_id AND a.id = CAST(:after AS uuid)), 0)
        AND (CAST(:concerning AS uuid) IS NULL OR :concerning = ANY(audience))
    ORDER BY position LIMIT :limit
    """
)


class Events:
    """`domain.events.EventLog`."""

    def __init__(self, connection: Connection, wanted_by: set[WebhookEndpointId]) -> None:
        """Work in that connection's transaction; add to `wanted_by` the endpoints with new deliveries."""
        self._connection = connection
        self._wanted_by = wanted_by
        self.subjects: list[UUID] = []
        """The subjects of the events appended so far."""

    async def append(self, events: Sequence[Event]) -> None:
        """Append events, and their deliveries to the endpoints that want them, in the caller's transaction."""
        if not events:
            return
        columns = {
            "id": [event.id for event in events],
            "type": [event.type for event in events],
            "subject_id": [event.subject_id for event in events],
            "data": [json.dumps(event.data) for event in events],
            "created_at": [event.created_at for event in events],
            "audience": [write_array(event.audience) for event in events],
        }
        endpoint_ids = await self._connection.execute(_APPEND, columns)
        self._wanted_by.update(endpoint_ids.scalars())
        self.subjects.extend(event.subject_id for event in events)

    async def of_subject(
        self, subject_id: UUID, request: PageRequest = LONGEST_PAGE, *, concerning: UserId | None = None
    ) -> Page[Event]:
        """Return a page of a subject's events, oldest first; only those that concern a user, if one is named."""
        values = {
            "subject_id": subject_id,
            "concerning": concerning,
            "after": request.after,
            "limit": request.limit + 1,
        }
        rows = await self._connection.execute(_OF_SUBJECT, values)
        return cut([Event(**{**row._mapping, "audience": tuple(row.audience)}) for row in rows], request)
