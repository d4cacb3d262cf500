"""Statements in PostgreSQL: a seller's entries, in the order of their journals' ids."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from db.connection import Connection
from db.ledger import UNFOLDED
from db.sql import Sql
from domain.ids import JournalId
from domain.ledger.model import JournalKind, seller_payable
from domain.sellers.statements import Bookmark, Period, StatementLine

# A journal's id is made when it is posted, so it lies next to its time. The index leads to the ids, so that a
# statement costs what its period holds and what came after it; times alone say what belongs to it.
_SLACK = timedelta(days=1)
_ID_BITS_BELOW_MS = 80

# What the account holds now, without what moved it later, or was committed later: one statement, so one snapshot.
_OPENING = Sql(
    f"""
    WITH seen AS (
        SELECT coalesce(CAST(:snapshot AS pg_snapshot), pg_current_snapshot()) AS snapshot
    ), held AS (
        SELECT coalesce(sum(amount_minor), 0)::bigint AS amount_minor
        FROM (
            SELECT balance_minor AS amount_minor FROM balances
            WHERE account = :account AND currency = :currency
            UNION ALL
            SELECT amount_minor FROM {UNFOLDED} AS unfolded
            WHERE account = :account AND currency = :currency
        ) AS parts
    ), later AS (
        SELECT coalesce(sum(e.amount_minor), 0)::bigint AS amount_minor
        FROM entries e JOIN journals j ON j.id = e.journal_id, seen
        WHERE e.account = :account AND e.currency = :currency AND e.journal_id >= :floor
            AND (j.created_at >= :start AND NOT (j.created_at < :end AND e.journal_id <= :after)
                OR NOT pg_visible_in_snapshot(e.transaction_id::text::xid8, seen.snapshot))
    )
    SELECT -(held.amount_minor - later.amount_minor) AS opening_minor, seen.snapshot::text AS snapshot
    FROM held, later, seen
    """
)
_LINES = Sql(
    """
    SELECT j.id AS journal_id, j.kind, j.source, j.payment_id, j.created_at,
           -sum(e.amount_minor)::bigint AS amount_minor
    FROM entries e JOIN journals j ON j.id = e.journal_id
    WHERE e.account = :account AND e.currency = :currency
        AND e.journal_id > :after AND e.journal_id BETWEEN :floor AND :ceiling
        AND j.created_at >= :start AND j.created_at < :end
        AND pg_visible_in_snapshot(e.transaction_id::text::xid8, CAST(:snapshot AS pg_snapshot))
    GROUP BY j.id ORDER BY j.id LIMIT :limit
    """
)


class Statements:
    """`domain.sellers.statements.StatementRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def opening(self, period: Period, bookmark: Bookmark | None) -> tuple[int, str]:
        """Return the balance before a period, or where a part begins, and the snapshot that it is of."""
        after, snapshot = (bookmark.after, bookmark.snapshot) if bookmark else (None, None)
        values = {**_values(period, after), "snapshot": snapshot}
        row = (await self._connection.execute(_OPENING, values)).one()
        return row.opening_minor, row.snapshot

    async def lines(
        self, period: Period, after: JournalId | None, *, opening_minor: int, snapshot: str, limit: int
    ) -> Sequence[StatementLine]:
        """Return the next lines of a period as a snapshot saw them, at most `limit`, with running balances."""
        values = {
            **_values(period, after),
            "ceiling": _id_at(period.end + _SLACK),
            "snapshot": snapshot,
            "limit": limit,
        }
        lines, balance_minor = [], opening_minor
        for row in await self._connection.execute(_LINES, values):
            balance_minor += row.amount_minor
            kind = JournalKind(row.kind)
            lines.append(StatementLine(**{**row._mapping, "kind": kind}, balance_minor=balance_minor))
        return lines


def _values(period: Period, after: JournalId | None) -> dict[str, object]:
    return {
        "account": seller_payable(period.seller_id),
        "currency": period.currency,
        "start": period.start,
        "end": period.end,
        "floor": _id_at(period.start - _SLACK),
        "after": after or UUID(int=0),
    }


def _id_at(at: datetime) -> UUID:
    """Return the least UUIDv7 of a time."""
    return UUID(int=max(int(at.timestamp() * 1000), 0) << _ID_BITS_BELOW_MS)
