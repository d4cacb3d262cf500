"""What people ask of reconciliations, in PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from itertools import groupby
from typing import Any

from db.connection import Connection
from db.paging import cut
from db.reconciliation_exceptions import EXCEPTIONS, read_exception
from db.reconciliation_runs import COLUMNS, read_run
from db.sql import Sql
from domain.ids import ExceptionId, ReconciliationId
from domain.ledger.model import Account, Entry
from domain.pages import Page, PageRequest
from domain.reconciliation.model import (
    AgeBand,
    BreakKind,
    CurrencyBalance,
    DayTotal,
    Drift,
    ExceptionCount,
    ExceptionStatus,
    ReconciliationException,
    Report,
    Resolution,
    Run,
    Standing,
    Statement,
    Total,
)

_PAGE = Sql(
    f"""
    SELECT {COLUMNS} FROM reconciliations r
    WHERE CAST(:after AS uuid) IS NULL OR r.id < :after ORDER BY r.id DESC LIMIT :limit
    """
)
_RUN = Sql(f"SELECT {COLUMNS}, r.statement FROM reconciliations r WHERE r.id = :id")
_COUNTS = Sql(
    """
    SELECT x.kind, x.status, count(*) AS count
    FROM reconciliation_findings f JOIN reconciliation_exceptions x ON x.id = f.exception_id
    WHERE f.reconciliation_id = :id GROUP BY x.kind, x.status ORDER BY x.kind, x.status
    """
)
_AGE_DAYS = (0, 1, 3, 7, 30)
_AGES = Sql(
    """
    SELECT band.days, count(x.id) AS count
    FROM unnest(CAST(:days AS integer[]), CAST(:ends AS integer[])) AS band (days, ends)
    LEFT JOIN (
        SELECT x.id, x.opened_at FROM reconciliation_findings f
        JOIN reconciliation_exceptions x ON x.id = f.exception_id
        WHERE f.reconciliation_id = :id AND x.status = 'open'
    ) AS x ON x.opened_at <= :now - make_interval(days => band.days)
        AND (band.ends IS NULL OR x.opened_at > :now - make_interval(days => band.ends))
    GROUP BY band.days ORDER BY band.days
    """
)
_FOUND = f"""{EXCEPTIONS}
    JOIN reconciliation_findings f ON f.exception_id = x.id AND f.reconciliation_id = :run_id
"""
_EXCEPTIONS = Sql(
    f"""{_FOUND}
    WHERE (CAST(:after AS uuid) IS NULL OR x.id < :after)
        AND (CAST(:status AS text) IS NULL OR x.status = :status)
    ORDER BY x.id DESC LIMIT :limit
    """
)
_OLDEST = Sql(f"""{_FOUND} ORDER BY x.status = 'open' DESC, x.opened_at, x.id LIMIT :limit""")
_LOCK = Sql(
    """
    SELECT FROM reconciliation_exceptions x
    JOIN reconciliation_findings f ON f.exception_id = x.id AND f.reconciliation_id = :run_id
    WHERE x.id = :id FOR UPDATE OF x
    """
)
_LOCKED = Sql(f"{_FOUND} WHERE x.id = :id")
_CORRECTIONS = Sql(
    """
    SELECT s.journal_id, e.account, e.amount_minor
    FROM reconciliation_resolutions s JOIN entries e ON e.journal_id = s.journal_id AND e.currency = :currency
    WHERE s.exception_id = :exception_id
    ORDER BY s.id, e.line
    """
)
_RESOLVE = Sql(
    """
    WITH resolved AS (
        UPDATE reconciliation_exceptions
        SET status = 'resolved', closed_at = :resolved_at, updated_at = :resolved_at
        WHERE id = :exception_id
    )
    INSERT INTO reconciliation_resolutions (exception_id, resolved_by, reason, journal_id, resolved_at)
    VALUES (:exception_id, :resolved_by, :reason, :journal_id, :resolved_at)
    """
)
_DRIFT = Sql(
    """
    SELECT
        (SELECT statement -> 'balances' FROM reconciliations
         WHERE status = 'succeeded' ORDER BY to_at DESC, finished_at DESC LIMIT 1) AS balances,
        (SELECT max(finished_at) FROM reconciliations WHERE status = 'succeeded') AS succeeded_at,
        (SELECT count(*) FROM reconciliation_exceptions WHERE status = 'open') AS open_exceptions,
        (SELECT min(opened_at) FROM reconciliation_exceptions WHERE status = 'open') AS oldest_open_at
    """
)


class Reconciliations:
    """`domain.reconciliation.ports.ReconciliationReader`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def page(self, request: PageRequest) -> Page[Run]:
        """Return a page of the runs, newest first."""
        values = {"after": request.after, "limit": request.limit + 1}
        return cut([read_run(row) for row in await self._connection.execute(_PAGE, values)], request)

    async def report(self, run_id: ReconciliationId, now: datetime) -> Report | None:
        """Return a run with all that it found."""
        row = (await self._connection.execute(_RUN, {"id": run_id})).first()
        if row is None:
            return None
        counts = await self._connection.execute(_COUNTS, {"id": run_id})
        bands = {"id": run_id, "now": now, "days": list(_AGE_DAYS), "ends": [*_AGE_DAYS[1:], None]}
        ages = await self._connection.execute(_AGES, bands)
        return Report(
            run=read_run(row),
            statement=_statement(row.statement) if row.statement is not None else None,
            counts=[
                ExceptionCount(BreakKind(each.kind), ExceptionStatus(each.status), each.count) for each in counts
            ],
            ages=[AgeBand(each.days, each.count) for each in ages],
        )

    async def exceptions(
        self, run_id: ReconciliationId, request: PageRequest, status: ExceptionStatus | None
    ) -> Page[ReconciliationException]:
        """Return a page of what a run found, newest first."""
        values = {"run_id": run_id, "after": request.after, "status": status, "limit": request.limit + 1}
        rows = await self._connection.execute(_EXCEPTIONS, values)
        return cut([read_exception(row) for row in rows], request)

    async def oldest_exceptions(self, run_id: ReconciliationId, limit: int) -> Sequence[ReconciliationException]:
        """Return what a run found, the open ones before the others and the oldest first."""
        rows = await self._connection.execute(_OLDEST, {"run_id": run_id, "limit": limit})
        return [read_exception(row) for row in rows]

    async def lock_exception(
        self, run_id: ReconciliationId, exception_id: ExceptionId
    ) -> ReconciliationException | None:
        """Lock an exception that a run found until the transaction ends, and return it as it is then."""
        values = {"run_id": run_id, "id": exception_id}
        await self._connection.execute(_LOCK, values)
        # Who waits for a lock sees the row as it is then, but the resolutions as they were before.
        row = (await self._connection.execute(_LOCKED, values)).first()
        return read_exception(row) if row else None

    async def corrections(self, exception_id: ExceptionId, currency: str) -> Sequence[Sequence[Entry]]:
        """Return the entries of each correction of an exception in a currency, the oldest first."""
        values = {"exception_id": exception_id, "currency": currency}
        rows = await self._connection.execute(_CORRECTIONS, values)
        return [
            [Entry(Account(row.account), row.amount_minor) for row in entries]
            for _, entries in groupby(rows, key=lambda row: row.journal_id)
        ]

    async def resolve(self, exception_id: ExceptionId, resolution: Resolution) -> None:
        """Write what a person decided on a locked exception."""
        values = {
            "exception_id": exception_id,
            "resolved_by": resolution.resolved_by,
            "reason": resolution.reason,
            "journal_id": resolution.journal_id,
            "resolved_at": resolution.resolved_at,
        }
        await self._connection.execute(_RESOLVE, values)

    async def drift(self) -> Drift:
        """Return by how much ledger and Stripe differ since the last run, what is in transit aside."""
        row = (await self._connection.execute(_DRIFT)).one()
        closings = [(each["currency"], Standing(**each["closing"])) for each in row.balances or ()]
        return Drift(
            differences=[
                (currency, closing.difference_minor - closing.in_transit_minor) for currency, closing in closings
            ],
            open_exceptions=row.open_exceptions,
            oldest_open_at=row.oldest_open_at,
            succeeded_at=row.succeeded_at,
        )


def _statement(raw: Mapping[str, Any]) -> Statement:
    return Statement(
        totals=[Total(**each) for each in raw["totals"]],
        days=[DayTotal(**{**each, "day": date.fromisoformat(each["day"])}) for each in raw["days"]],
        balances=[
            CurrencyBalance(each["currency"], Standing(**each["opening"]), Standing(**each["closing"]))
            for each in raw["balances"]
        ],
    )
