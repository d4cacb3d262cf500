"""The event log in PostgreSQL."""

import json
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text

from db.arrays import write_array
from db.connection import Connection
from domain.events import Event

# unnest takes an array of arrays apart to its elements, so an audience comes as the text of an array.
_APPEND = text(
    """
    INSERT INTO events (id, type, subject_id, data, created_at, audience)
    SELECT id, type, subject_id, data, created_at, CAST(audience AS uuid[])
    FROM unnest(CAST(:id AS uuid[]), CAST(:type AS text[]), CAST(:subject_id AS uuid[]), CAST(:data AS jsonb[]),
                CAST(:created_at AS timestamptz[]), CAST(:audience AS text[]))
        AS n (id, type, subject_id, data, created_at, audience)
    """
)
_OF_SUBJECT = text(
    """
    SELECT id, type, subject_id, data, created_at, audience FROM events
    WHERE subject_id = :subject_id
    ORDER BY position LIMIT 1000
    """
)


class Events:
    """`domain.events.EventLog`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection
        self.subjects: list[UUID] = []
        """The subjects of the events appended so far."""

    async def append(self, events: Sequence[Event]) -> None:
        """Append events in the caller's transaction."""
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
        await self._connection.execute(_APPEND, columns)
        self.subjects.extend(event.subject_id for event in events)

    async def of_subject(self, subject_id: UUID) -> Sequence[Event]:
        """Return a subject's events, oldest first, at most 1,000."""
        rows = await self._connection.execute(_OF_SUBJECT, {"subject_id": subject_id})
        return [Event(**{**row._mapping, "audience": tuple(row.audience)}) for row in rows]
