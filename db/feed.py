"""The event log in PostgreSQL, read by position."""

from collections.abc import Sequence

from db.connection import Connection, Row
from db.sql import Sql
from domain.events import Event
from domain.feed.model import LoggedEvent, Look
from domain.feed.ports import Readers

_COLUMNS = "e.position, e.id, e.type, e.subject_id, e.data, e.created_at, e.audience"

# The n-th event after a position stands n further, as long as none is missing between: so the run without a gap
# is found in the one snapshot that also says which transactions had ended by then.
_LOOK = Sql(
    f"""
    WITH page AS MATERIALIZED (
        SELECT {_COLUMNS}, row_number() OVER (ORDER BY e.position) AS n
        FROM (SELECT * FROM events WHERE position > :after ORDER BY position LIMIT :limit) e
    ), run AS (
        SELECT coalesce(max(position) FILTER (WHERE position = :after + n), :after) AS through,
               min(position) FILTER (WHERE position > :after + n) AS next_position,
               coalesce(max(position), :after) AS last_position,
               count(*) = :limit AS is_full,
               pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest_running
        FROM page
    ), wanted AS (
        SELECT DISTINCT page.position
        FROM page CROSS JOIN LATERAL unnest(page.audience) AS concerned (user_id)
        JOIN unnest(CAST(:readers AS uuid[])) AS reader (user_id) USING (user_id)
    )
    SELECT run.through, run.next_position, run.last_position, run.is_full, run.oldest_running, {_COLUMNS}
    FROM run LEFT JOIN page e ON e.position <= run.through
        AND (:everything OR e.position IN (SELECT position FROM wanted))
    ORDER BY e.position
    """
)
_BETWEEN = Sql(
    f"""
    SELECT {_COLUMNS} FROM events e
    WHERE e.position > :after AND e.position <= :through
        AND (:everything OR e.audience && CAST(:readers AS uuid[]))
    ORDER BY e.position LIMIT :limit
    """
)
_LAST_POSITION = Sql("SELECT coalesce(max(position), 0) FROM events")
_BARRIER = Sql("SELECT pg_current_xact_id()::text::bigint")
_OLDEST_RUNNING = Sql("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")


class Feed:
    """`domain.feed.ports.FeedRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Read on that connection."""
        self._connection = connection

    async def look(self, after: int, readers: Readers, *, limit: int) -> Look:
        """Look at the first `limit` events after a position, whoever they concern, in one snapshot."""
        values = {"after": after, "limit": limit, **_whose(readers)}
        rows = (await self._connection.execute(_LOOK, values)).all()
        return Look(
            events=[_read(row) for row in rows if row.position is not None],
            through=rows[0].through,
            next_position=rows[0].next_position,
            last_position=rows[0].last_position,
            oldest_running=rows[0].oldest_running,
            is_full=rows[0].is_full,
        )

    async def between(self, after: int, through: int, readers: Readers, *, limit: int) -> Sequence[LoggedEvent]:
        """Return the first `limit` of the readers' events after one position up to another, in order."""
        values = {"after": after, "through": through, "limit": limit, **_whose(readers)}
        return [_read(row) for row in await self._connection.execute(_BETWEEN, values)]

    async def last_position(self) -> int:
        """Return the position of the last event that is committed; 0 without any."""
        return int((await self._connection.execute(_LAST_POSITION)).scalar_one())

    async def barrier(self) -> int:
        """Return a transaction id that is greater than that of every transaction that appended events so far."""
        return int((await self._connection.execute(_BARRIER)).scalar_one())

    async def oldest_running(self) -> int:
        """Return the transaction id below which every transaction has ended."""
        return int((await self._connection.execute(_OLDEST_RUNNING)).scalar_one())


def _whose(readers: Readers) -> dict[str, object]:
    return {"readers": list(readers or ()), "everything": readers is None}


def _read(row: Row) -> LoggedEvent:
    event = Event(
        id=row.id,
        type=row.type,
        subject_id=row.subject_id,
        data=row.data,
        created_at=row.created_at,
        audience=tuple(row.audience),
    )
    return LoggedEvent(row.position, event)
