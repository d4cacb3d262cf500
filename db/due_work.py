"""All rows that wait for work, as the sweeper sees them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from db import quarantine
from db.connection import Connection
from db.events import LETS_IN
from db.sql import Sql
from domain.notifications.model import FAILING_FROM
from domain.settlement.model import Backlog
from domain.settlement.ports import RowId
from domain.work import Work

MAX_REPUBLISH_S = 300
"""However long a row has waited, it is announced at least this often, in case its message got lost."""
MAX_COUNTED = 100_000
"""The most due rows that are counted."""


def _key(table: str) -> str:
    """Return the column that names a row."""
    return "seller_id" if table == "seller_accounts" else "id"


def _claim(table: str) -> Sql:
    """Return the statement that picks due rows of a table, oldest first.

    The next announcement comes after twice the time that the row has waited so far. So a backlog is published a
    few times, not at every sweep.
    """
    key = _key(table)
    return Sql(
        f"""
        WITH due AS (
            SELECT {key} AS id FROM {table} WHERE publish_at <= :now
            ORDER BY publish_at LIMIT :limit FOR UPDATE SKIP LOCKED
        )
        UPDATE {table} t
        SET publish_at = :now + least(
            greatest(make_interval(secs => :republish_after_s), 2 * (:now - t.due_at)),
            make_interval(secs => greatest(:republish_after_s, {MAX_REPUBLISH_S})))
        FROM due WHERE t.{key} = due.id
        RETURNING due.id, t.due_at
        """
    )


def _give_back(table: str) -> Sql:
    key = _key(table)
    return Sql(
        f"""
        WITH claimed AS (
            SELECT {key} AS id FROM {table}
            WHERE {key} = ANY(:ids) AND publish_at > :publish_at AND locked_until IS NULL
            ORDER BY {key} FOR UPDATE SKIP LOCKED
        )
        UPDATE {table} t SET publish_at = :publish_at FROM claimed WHERE t.{key} = claimed.id
        """
    )


def _tried(table: str) -> Sql:
    key = _key(table)
    return Sql(f"SELECT {key} FROM {table} WHERE {key} = ANY(:ids) AND attempts > 0 ORDER BY {key}")


def _postpone(table: str) -> Sql:
    """Return the statement that puts due rows back; rows that somebody holds are left alone."""
    id_type = "text" if table == "stripe_events" else "uuid"
    key = _key(table)
    return Sql(
        f"""
        WITH free AS (
            SELECT later.id, later.due_at
            FROM {table} t
            JOIN unnest(CAST(:ids AS {id_type}[]), CAST(:due_ats AS timestamptz[])) AS later (id, due_at)
                ON later.id = t.{key}
            WHERE t.due_at <= :now AND (t.locked_until IS NULL OR t.locked_until <= :now)
            ORDER BY later.id FOR UPDATE OF t SKIP LOCKED
        )
        UPDATE {table} t SET due_at = free.due_at, publish_at = free.due_at FROM free WHERE t.{key} = free.id
        """
    )


# Deliveries are announced by their endpoints, so that an endpoint's backlog is one id. The recursion walks the
# index of due rows from endpoint to endpoint. If there are more than the limit, chance chooses: by age, dead
# endpoints would always come first.
_CLAIM_ENDPOINTS = Sql(
    f"""
    WITH RECURSIVE waiting AS (
        (SELECT endpoint_id FROM deliveries WHERE due_at IS NOT NULL ORDER BY endpoint_id LIMIT 1)
        UNION ALL
        SELECT (SELECT d.endpoint_id FROM deliveries d
                WHERE d.due_at IS NOT NULL AND d.endpoint_id > waiting.endpoint_id
                ORDER BY d.endpoint_id LIMIT 1)
        FROM waiting WHERE waiting.endpoint_id IS NOT NULL
    )
    SELECT w.id, CAST(:now AS timestamptz) AS due_at
    FROM waiting JOIN webhook_endpoints w ON w.id = waiting.endpoint_id
    WHERE w.status = 'enabled' AND (w.resume_at IS NULL OR w.resume_at <= :now) AND {LETS_IN}
        AND EXISTS (SELECT FROM deliveries d WHERE d.endpoint_id = w.id AND d.due_at <= :now)
    ORDER BY random() LIMIT :limit
    """
)
_TABLE = {
    Work.CHARGES: "payments",
    Work.STRIPE_EVENTS: "stripe_events",
    Work.REFUNDS: "refunds",
    Work.ONBOARDINGS: "seller_accounts",
    Work.PAYOUTS: "payouts",
    Work.REVERSALS: "payout_reversals",
}
_CLAIM = {work: _claim(table) for work, table in _TABLE.items()} | {Work.DELIVERIES: _CLAIM_ENDPOINTS}
_GIVE_BACK = {work: _give_back(table) for work, table in _TABLE.items()}
_TRIED = {work: _tried(table) for work, table in _TABLE.items()}
_POSTPONE = {work: _postpone(table) for work, table in _TABLE.items()}


def _backlogs(tables: Mapping[Work, str]) -> str:
    """Return the statement that counts what is due, and stops at a limit past which the number says no more."""
    return " UNION ALL ".join(
        f"""
        SELECT '{work}' AS work, count(*) AS due, min(due_at) AS oldest_at, {_quarantined(work)} AS quarantined
        FROM (
            SELECT due_at FROM {table}
            WHERE publish_at IS NOT NULL AND due_at <= :now AND (locked_until IS NULL OR locked_until <= :now)
            LIMIT {MAX_COUNTED}
        ) AS rows
        """
        for work, table in tables.items()
    )


def _quarantined(work: Work) -> str:
    kept = quarantine.COUNTS.get(work)
    return f"(SELECT count(*) FROM ({kept} LIMIT {MAX_COUNTED}) AS kept)" if kept else "0"


# Deliveries to an endpoint that fails are late because of its owner, so they are no backlog of ours.
_DELIVERIES_BACKLOG = f"""
    SELECT '{Work.DELIVERIES}' AS work, count(*) AS due, min(due_at) AS oldest_at, 0 AS quarantined FROM (
        SELECT d.due_at FROM deliveries d JOIN webhook_endpoints w ON w.id = d.endpoint_id
        WHERE w.status = 'enabled' AND w.failures < {FAILING_FROM} AND {LETS_IN} AND d.due_at <= :now
            AND (d.locked_until IS NULL OR d.locked_until <= :now)
        LIMIT {MAX_COUNTED}
    ) AS rows
"""
_BACKLOGS = Sql(f"{_backlogs(_TABLE)} UNION ALL {_DELIVERIES_BACKLOG}")


class DueWork:
    """`domain.settlement.ports.DueWorkRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def claim(
        self, work: Work, now: datetime, *, republish_after_s: float, limit: int
    ) -> Sequence[UUID | str]:
        """Return the ids of due rows whose `publish_at` has come, oldest first."""
        values: dict[str, object] = {"now": now, "limit": limit}
        if work is not Work.DELIVERIES:
            values["republish_after_s"] = republish_after_s
        rows = (await self._connection.execute(_CLAIM[work], values)).all()
        return [row.id for row in sorted(rows, key=lambda row: (row.due_at, row.id))]

    async def give_back(self, work: Work, ids: Sequence[RowId], publish_at: datetime) -> None:
        """Let claimed rows be announced at that time, or earlier if they would be."""
        if work in _GIVE_BACK:
            await self._connection.execute(_GIVE_BACK[work], {"ids": list(ids), "publish_at": publish_at})

    async def tried(self, work: Work, ids: Sequence[UUID | str]) -> Collection[UUID | str]:
        """Return those of the rows that a worker has tried before."""
        rows = await self._connection.execute(_TRIED[work], {"ids": list(ids)})
        return frozenset(rows.scalars())

    async def backlogs(self, now: datetime) -> Sequence[Backlog]:
        """Return how much of each kind of work is due and waits for somebody, and for how long."""
        rows = await self._connection.execute(_BACKLOGS, {"now": now})
        return [Backlog(Work(row.work), row.due, row.oldest_at, row.quarantined) for row in rows]

    async def postpone(self, work: Work, dues: Mapping[RowId, datetime], now: datetime) -> None:
        """Make due rows due later, each at its own time; those that somebody holds are left alone."""
        values = {"ids": list(dues), "due_ats": list(dues.values()), "now": now}
        await self._connection.execute(_POSTPONE[work], values)
