"""The exceptions of reconciliations in PostgreSQL: opened, brought up to date and closed, one a movement."""

from collections.abc import Collection, Sequence
from datetime import datetime

from db.connection import Connection, Row
from db.sql import Sql
from domain.ids import ExceptionId, uuid7
from domain.reconciliation.model import (
    BreakKind,
    ExceptionStatus,
    Finding,
    ReconciliationException,
    Resolution,
    Run,
)
from domain.reconciliation.rules import CATEGORY_OF

_SIDES = (
    "kind",
    "stripe_amount_minor",
    "stripe_fee_minor",
    "stripe_currency",
    "journal_ids",
    "ledger_amount_minor",
    "ledger_fee_minor",
    "ledger_currency",
    "contents_minor",
)
# What was late and is booked by hand is decided, though it is missing for good by now.
_IS_STILL_DECIDED = f"""
    x.status = 'resolved'
    AND ({", ".join(f"x.{name}" for name in _SIDES if name != "kind")})
        IS NOT DISTINCT FROM ({", ".join(f"excluded.{name}" for name in _SIDES if name != "kind")})
    AND EXISTS (
        SELECT FROM reconciliation_resolutions s WHERE s.exception_id = x.id AND s.journal_id IS NOT NULL)
"""
# Who decides on one at this moment is waited for, in a statement before those that look at decisions: one that
# waits sees the exception as it is then, but the decisions as they were when it began.
_HOLD = Sql(
    """
    SELECT FROM reconciliation_exceptions
    WHERE key = ANY(CAST(:keys AS text[])) AND status IN ('open', 'resolved')
    ORDER BY id FOR NO KEY UPDATE
    """
)
_EXCEPT = Sql(
    f"""
    WITH kept AS (
        INSERT INTO reconciliation_exceptions AS x (id, key, kind, status, category, stripe_transaction_id,
            stripe_source, stripe_amount_minor, stripe_fee_minor, stripe_currency, stripe_created_at, journal_ids,
            ledger_amount_minor, ledger_fee_minor, ledger_currency, ledger_created_at, payment_id, contents_minor,
            opened_at, updated_at)
        SELECT f.id, f.key, f.kind, 'open', f.category, f.stripe_transaction_id, f.stripe_source,
            f.stripe_amount_minor, f.stripe_fee_minor, f.stripe_currency, f.stripe_created_at,
            CAST(string_to_array(f.journal_ids, ' ') AS uuid[]), f.ledger_amount_minor, f.ledger_fee_minor,
            f.ledger_currency, f.ledger_created_at, f.payment_id, f.contents_minor, :now, :now
        FROM unnest(
            CAST(:id AS uuid[]), CAST(:key AS text[]), CAST(:kind AS text[]), CAST(:category AS text[]),
            CAST(:stripe_transaction_id AS text[]), CAST(:stripe_source AS text[]),
            CAST(:stripe_amount_minor AS bigint[]), CAST(:stripe_fee_minor AS bigint[]),
            CAST(:stripe_currency AS text[]), CAST(:stripe_created_at AS timestamptz[]),
            CAST(:journal_ids AS text[]), CAST(:ledger_amount_minor AS bigint[]),
            CAST(:ledger_fee_minor AS bigint[]), CAST(:ledger_currency AS text[]),
            CAST(:ledger_created_at AS timestamptz[]), CAST(:payment_id AS uuid[]),
            CAST(:contents_minor AS bigint[]))
            AS f (id, key, kind, category, stripe_transaction_id, stripe_source, stripe_amount_minor,
                stripe_fee_minor, stripe_currency, stripe_created_at, journal_ids, ledger_amount_minor,
                ledger_fee_minor, ledger_currency, ledger_created_at, payment_id, contents_minor)
        ON CONFLICT (key) WHERE status IN ('open', 'resolved') DO UPDATE
        SET {", ".join(f"{name} = excluded.{name}" for name in _SIDES)},
            ledger_created_at = excluded.ledger_created_at, payment_id = excluded.payment_id,
            updated_at = excluded.updated_at,
            status = CASE WHEN {_IS_STILL_DECIDED} THEN 'resolved' ELSE 'open' END,
            closed_at = CASE WHEN {_IS_STILL_DECIDED} THEN x.closed_at END, closed_by = NULL
        WHERE ({", ".join(f"x.{name}" for name in _SIDES)})
            IS DISTINCT FROM ({", ".join(f"excluded.{name}" for name in _SIDES)})
        RETURNING x.id
    )
    INSERT INTO reconciliation_findings (reconciliation_id, exception_id)
    SELECT :run_id, id FROM kept
    UNION
    SELECT :run_id, id FROM reconciliation_exceptions
    WHERE key = ANY(CAST(:key AS text[])) AND status IN ('open', 'resolved')
    ON CONFLICT DO NOTHING
    """
)
_CLOSE = Sql(
    """
    UPDATE reconciliation_exceptions
    SET status = CASE WHEN key = ANY(CAST(:mended AS text[])) THEN 'healed' ELSE 'closed' END,
        closed_at = :now, closed_by = :run_id, updated_at = :now
    WHERE key = ANY(CAST(:keys AS text[])) AND status IN ('open', 'resolved')
    """
)
# What is corrected and corrected back again is as if it had never been. A journal may have had an exception of its
# own, before Stripe listed its line.
_CORRECTED = Sql(
    """
    SELECT DISTINCT m.key
    FROM unnest(CAST(:keys AS text[]), CAST(:names AS text[])) AS m (key, name)
    JOIN reconciliation_exceptions x ON x.key = m.name
    JOIN reconciliation_resolutions s ON s.exception_id = x.id
    JOIN entries e ON e.journal_id = s.journal_id AND e.account = 'stripe_balance'
    GROUP BY m.key, e.currency HAVING sum(e.amount_minor) <> 0
    ORDER BY m.key
    """
)
EXCEPTION_COLUMNS = """
    x.id, x.kind, x.status, x.category, x.stripe_transaction_id, x.stripe_source, x.stripe_amount_minor,
    x.stripe_fee_minor, x.stripe_currency, x.stripe_created_at, x.journal_ids, x.ledger_amount_minor,
    x.ledger_fee_minor, x.ledger_currency, x.ledger_created_at, x.payment_id, x.opened_at, x.updated_at,
    x.closed_at, x.closed_by, x.contents_minor, s.resolved_by, s.reason, s.resolved_at, s.journal_id
"""
EXCEPTIONS = f"""
    SELECT {EXCEPTION_COLUMNS} FROM reconciliation_exceptions x
    LEFT JOIN LATERAL (
        SELECT * FROM reconciliation_resolutions WHERE exception_id = x.id ORDER BY id DESC LIMIT 1
    ) AS s ON x.status = 'resolved'
"""
_OPEN = Sql(
    f"""{EXCEPTIONS}
    WHERE x.status = 'open' AND (CAST(:after AS uuid) IS NULL OR x.id > :after) ORDER BY x.id LIMIT :limit
    """
)


class Exceptions:
    """The exceptions, as a run writes them."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def hold(self, keys: Collection[str]) -> None:
        """Lock the exceptions of movements until the transaction ends: nobody decides on them meanwhile."""
        if keys:
            await self._connection.execute(_HOLD, {"keys": sorted(keys)})

    async def keep(self, run: Run, broken: Sequence[Finding], now: datetime) -> None:
        """Open an exception for each finding, or bring the one that there is up to date."""
        if broken:
            await self._connection.execute(_EXCEPT, {**_columns(broken), "run_id": run.id, "now": now})

    async def close(self, run: Run, keys: Collection[str], now: datetime, *, mended: Collection[str] = ()) -> None:
        """Close those of movements that agree now, or are gone; those that were mended are healed."""
        if keys:
            values = {"keys": sorted(keys), "mended": list(mended), "run_id": run.id, "now": now}
            await self._connection.execute(_CLOSE, values)

    async def corrected(self, findings: Sequence[Finding]) -> Collection[str]:
        """Lock the exceptions of movements; return the keys of those to which corrections add or take anything."""
        names = ((each.key, (each.key, *_journals(each))) for each in findings)
        pairs = sorted({(key, name) for key, of_one in names for name in of_one})
        if not pairs:
            return ()
        values = {"keys": [key for key, _ in pairs], "names": [name for _, name in pairs]}
        await self.hold({name for _, name in pairs})
        return frozenset((await self._connection.execute(_CORRECTED, values)).scalars())

    async def page_of_open(self, *, after: ExceptionId | None, limit: int) -> Sequence[ReconciliationException]:
        """Return open exceptions in the order of their ids."""
        rows = await self._connection.execute(_OPEN, {"after": after, "limit": limit})
        return [read_exception(row) for row in rows]


def _journals(finding: Finding) -> list[str]:
    return [str(journal.id) for journal in finding.ledger.journals]


def _columns(findings: Sequence[Finding]) -> dict[str, list[object]]:
    rows = [_row(finding) for finding in sorted(findings, key=lambda finding: finding.key)]
    return {name: [row[name] for row in rows] for name in rows[0]}


def _row(finding: Finding) -> dict[str, object]:
    line, ledger = finding.line, finding.ledger
    journals = ledger.journals
    has_ledger = bool(journals)
    return {
        "id": uuid7(),
        "key": finding.key,
        "kind": finding.kind,
        "category": line.category if line else CATEGORY_OF.get(journals[0].kind, str(journals[0].kind)),
        "stripe_transaction_id": line.id if line else None,
        "stripe_source": line.source if line else None,
        "stripe_amount_minor": line.amount_minor if line else None,
        "stripe_fee_minor": line.fee_minor if line else None,
        "stripe_currency": line.currency if line else None,
        "stripe_created_at": line.created_at if line else None,
        "journal_ids": " ".join(_journals(finding)),
        "ledger_amount_minor": ledger.amount_minor if has_ledger else None,
        "ledger_fee_minor": ledger.fee_minor if has_ledger else None,
        "ledger_currency": ledger.currency if has_ledger else None,
        "ledger_created_at": min(journal.created_at for journal in journals) if has_ledger else None,
        "contents_minor": finding.contents_minor,
        "payment_id": ledger.payment_id or (line.payment_id if line else None),
    }


def read_exception(row: Row) -> ReconciliationException:
    """Return the exception of a row of `EXCEPTIONS`."""
    values = dict(row._mapping)
    resolved = {name: values.pop(name) for name in ("resolved_by", "reason", "resolved_at", "journal_id")}
    return ReconciliationException(
        **{
            **values,
            "kind": BreakKind(row.kind),
            "status": ExceptionStatus(row.status),
            "journal_ids": tuple(row.journal_ids),
            "resolution": Resolution(**resolved) if row.resolved_by is not None else None,
        }
    )
