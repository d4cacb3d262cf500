"""All rows that wait for work, as the sweeper sees them."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import TextClause, text

from db.connection import Connection
from domain.payments.ports import Work

MAX_REPUBLISH_S = 300
"""However long a row waits: it is announced at least this often, should its message be lost."""


def _claim(table: str) -> TextClause:
    """Return the statement that picks due rows of a table, oldest first.

    The next announcement lies as far ahead as the row has waited already, twice: a backlog is published a few
    times, not at every sweep.
    """
    return text(
        f"""
        WITH due AS (
            SELECT id FROM {table} WHERE publish_at <= :now
            ORDER BY publish_at LIMIT :limit FOR UPDATE SKIP LOCKED
        )
        UPDATE {table} t
        SET publish_at = :now + least(
            greatest(make_interval(secs => :republish_after_s), 2 * (:now - t.due_at)),
            make_interval(secs => greatest(:republish_after_s, {MAX_REPUBLISH_S})))
        FROM due WHERE t.id = due.id
        RETURNING t.id, t.due_at
        """
    )


_CLAIM = {
    Work.CHARGES: _claim("payments"),
    Work.STRIPE_EVENTS: _claim("stripe_events"),
    Work.REFUNDS: _claim("refunds"),
}


class DueWork:
    """`domain.settlement.ports.DueWorkRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def claim(
        self, work: Work, now: datetime, *, republish_after_s: float, limit: int
    ) -> Sequence[UUID | str]:
        """Return the ids of due rows that want to be announced, oldest first."""
        values = {"now": now, "republish_after_s": republish_after_s, "limit": limit}
        rows = (await self._connection.execute(_CLAIM[work], values)).all()
        return [row.id for row in sorted(rows, key=lambda row: (row.due_at, row.id))]
