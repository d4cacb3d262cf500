"""Rows that wait for a person, of all kinds of work."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from db.connection import Connection
from db.sql import Sql
from domain.settlement.model import Quarantined
from domain.work import Work

_KEPT = {
    Work.CHARGES: "payments",
    Work.REFUNDS: "refunds",
    Work.PAYOUTS: "payouts",
    Work.REVERSALS: "payout_reversals",
}
_WAITING: Mapping[Work, str] = {
    Work.REFUNDS: "status = 'pending'",
    Work.PAYOUTS: "status IN ('pending', 'processing', 'unknown')",
    Work.REVERSALS: "status = 'pending'",
}
"""When there is something left to do for a row. Others were refused what is no news, and need only be let go."""

COUNTS: Mapping[Work, str] = {
    **{work: f"SELECT FROM {table} WHERE quarantined_at IS NOT NULL" for work, table in _KEPT.items()},
    Work.STRIPE_EVENTS: "SELECT FROM stripe_events WHERE status = 'quarantined'",
}
"""What stands in quarantine of each kind of work that has one."""

# An event's own row does not say why; the log of the workers does.
_EVENTS = f"""
    (SELECT '{Work.STRIPE_EVENTS}' AS work, id, type AS status, NULL AS reason, handled_at AS since
     FROM stripe_events WHERE status = 'quarantined' ORDER BY handled_at LIMIT :limit)
"""
_ROWS = " UNION ALL ".join(
    f"""
    (SELECT '{work}' AS work, id::text AS id, status, quarantine_reason AS reason, quarantined_at AS since
     FROM {table} WHERE quarantined_at IS NOT NULL ORDER BY quarantined_at LIMIT :limit)
    """
    for work, table in _KEPT.items()
)
_FIND = Sql(f"{_ROWS} UNION ALL {_EVENTS} ORDER BY since, id LIMIT :limit")
_RELEASE = {
    work: Sql(
        f"""
        UPDATE {_KEPT[work]}
        SET quarantined_at = NULL, quarantine_reason = NULL, locked_until = NULL,
            due_at = CASE WHEN {waiting} THEN CAST(:now AS timestamptz) END,
            publish_at = CASE WHEN {waiting} THEN CAST(:now AS timestamptz) END
        WHERE id = :id AND quarantined_at IS NOT NULL
        RETURNING id
        """
    )
    for work, waiting in _WAITING.items()
}


class Quarantine:
    """`domain.settlement.ports.QuarantineRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def find(self, *, limit: int) -> Sequence[Quarantined]:
        """Return what is in quarantine, the longest first."""
        rows = await self._connection.execute(_FIND, {"limit": limit})
        return [Quarantined(Work(row.work), row.id, row.status, row.reason, row.since) for row in rows]

    async def release(self, work: Work, row_id: UUID, now: datetime) -> bool:
        """Let a locked row go, which is due then if something is left to do; False if it was not in quarantine."""
        released = await self._connection.execute(_RELEASE[work], {"id": row_id, "now": now})
        return released.first() is not None
