"""Reconciliations in PostgreSQL, as rows that wait for work, and what they add up to at their end."""

import json
from datetime import UTC, datetime

from db.connection import Connection, Row
from db.journal_spans import first_journal_id
from db.ledger import UNFOLDED
from db.sql import Sql
from domain.reconciliation.model import Run, RunStatus, Step

RUN_LOCK = 0x6D66_0007
"""Names reconciling among the advisory locks."""

_NAMES = (
    "id",
    "status",
    "step",
    "from_at",
    "to_at",
    "created_at",
    "updated_at",
    "requested_by",
    "is_nightly",
    "listed_from_at",
    "cursor",
    "started_at",
    "finished_at",
    "lines",
)
COLUMNS = ", ".join(f"r.{name}" for name in _NAMES)
BEGINNING = datetime(2011, 1, 1, tzinfo=UTC)
"""Before Stripe moved any money."""

_ADD = Sql(
    f"""
    INSERT INTO reconciliations ({", ".join(_NAMES)}, due_at)
    VALUES ({", ".join(f":{name}" for name in _NAMES)}, :created_at)
    ON CONFLICT (from_at, to_at) WHERE is_nightly DO NOTHING
    """
)
_LAST_NIGHT = Sql("SELECT max(to_at) FROM reconciliations WHERE is_nightly")
_TRY_LOCK = Sql("SELECT pg_try_advisory_xact_lock(:key)")
_LEASE = Sql(
    f"""
    WITH free AS (
        SELECT id FROM reconciliations
        WHERE due_at <= :now AND (locked_until IS NULL OR locked_until <= :now)
            AND NOT EXISTS (SELECT FROM reconciliations WHERE due_at IS NOT NULL AND locked_until > :now)
        ORDER BY created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    UPDATE reconciliations r
    SET status = 'running', started_at = coalesce(r.started_at, :now), updated_at = :now,
        locked_until = :until,
        listed_from_at = coalesce(r.listed_from_at, least(r.from_at, (
            SELECT coalesce(max(to_at), :beginning) FROM reconciliations WHERE status = 'succeeded')))
    FROM free WHERE r.id = free.id
    RETURNING {COLUMNS}, r.locked_until AS lease_until
    """
)
_SAVE = Sql(
    """
    UPDATE reconciliations
    SET step = :step, cursor = :cursor, lines = :lines, due_at = :due_at, locked_until = :until
    WHERE id = :id AND locked_until = :lease_until
    """
)
_FINISH = Sql(
    """
    UPDATE reconciliations
    SET status = :status, step = :step, cursor = NULL, finished_at = :finished_at, updated_at = :finished_at,
        due_at = NULL, locked_until = NULL, statement = (
            SELECT json_build_object(
                'totals', (SELECT coalesce(json_agg(t), '[]') FROM (
                    SELECT category, currency, count(*) AS lines, sum(amount_minor) AS stripe_minor,
                        sum(fee_minor) AS stripe_fee_minor, sum(coalesce(ledger_minor, 0)) AS ledger_minor,
                        sum(coalesce(ledger_fee_minor, 0)) AS ledger_fee_minor
                    FROM stripe_transactions WHERE created_at >= :from_at AND created_at < :to_at
                    GROUP BY category, currency ORDER BY category, currency) AS t),
                'days', (SELECT coalesce(json_agg(d), '[]') FROM (
                    SELECT (created_at AT TIME ZONE 'UTC')::date AS day, currency,
                        sum(amount_minor - fee_minor) AS stripe_minor,
                        sum(coalesce(ledger_minor, 0) - coalesce(ledger_fee_minor, 0)) AS ledger_minor
                    FROM stripe_transactions WHERE created_at >= :from_at AND created_at < :to_at
                    GROUP BY 1, 2 ORDER BY 1, 2) AS d),
                'balances', CAST(:balances AS json)))
    WHERE id = :id AND locked_until = :lease_until
    """
)
# PERF: one entry of each journal that was found, not all that the account ever had: the planner would choose those
# where it thinks that they are few.
_ENTRY = """
        CROSS JOIN LATERAL (
            SELECT currency, amount_minor FROM entries
            WHERE journal_id = j.id AND account = 'stripe_balance' OFFSET 0
        ) AS e
"""
# PERF: both balances are worked out from what is added up already, Stripe's by day and ours in the roll-up; only
# what lies between the moment and now is read. So a nightly run costs what a day costs, however old the ledger is.
# What is in transit is before the moment in the ledger and after it at Stripe, or the other way round. What the
# exceptions come to is read from the exceptions themselves, not made from the difference: so a difference that no
# exception explains is seen.
_STANDING = Sql(
    f"""
    WITH since AS MATERIALIZED (
        SELECT j.id, j.currency, e.amount_minor
        FROM journals j {_ENTRY}
        WHERE j.id >= CAST(:first_id AS uuid) AND j.created_at >= :at
    ), later AS MATERIALIZED (
        SELECT r.journal_id
        FROM stripe_transactions t JOIN reconciled_journals r ON r.transaction_id = t.id
        WHERE t.created_at >= :at
    ), parts AS (
        SELECT currency, 'stripe' AS part, net_minor AS minor FROM stripe_days WHERE day < CAST(:day AS date)
        UNION ALL
        SELECT currency, 'stripe', amount_minor - fee_minor FROM stripe_transactions
        WHERE created_at >= :midnight AND created_at < :at
        UNION ALL
        SELECT currency, 'ledger', balance_minor FROM balances WHERE account = 'stripe_balance'
        UNION ALL
        SELECT currency, 'ledger', amount_minor FROM {UNFOLDED} AS unfolded
        WHERE account = 'stripe_balance'
        UNION ALL
        SELECT currency, 'ledger', -amount_minor FROM since
        UNION ALL
        SELECT e.currency, 'in_transit', e.amount_minor
        FROM later l JOIN journals j ON j.id = l.journal_id
        {_ENTRY}
        WHERE j.created_at < :at
        UNION ALL
        SELECT b.currency, 'in_transit', -b.amount_minor
        FROM since b JOIN reconciled_journals r ON r.journal_id = b.id
        JOIN stripe_transactions l ON l.id = r.transaction_id
        WHERE l.created_at < :at
        UNION ALL
        SELECT e.currency, 'exceptions', e.amount_minor
        FROM journals j {_ENTRY}
        WHERE j.kind = 'correction' AND j.created_at < :at
        UNION ALL
        SELECT stripe_currency, 'exceptions', stripe_fee_minor - stripe_amount_minor
        FROM reconciliation_exceptions
        WHERE status IN ('open', 'resolved') AND stripe_created_at < :at
        UNION ALL
        SELECT e.currency, 'exceptions', e.amount_minor
        FROM reconciliation_exceptions x CROSS JOIN unnest(x.journal_ids) AS of (id)
        JOIN journals j ON j.id = of.id
        {_ENTRY}
        WHERE x.status IN ('open', 'resolved') AND coalesce(x.stripe_created_at, j.created_at) < :at
    )
    SELECT currency,
        coalesce(sum(minor) FILTER (WHERE part = 'stripe'), 0)::bigint AS stripe_minor,
        coalesce(sum(minor) FILTER (WHERE part = 'ledger'), 0)::bigint AS ledger_minor,
        coalesce(sum(minor) FILTER (WHERE part = 'in_transit'), 0)::bigint AS in_transit_minor,
        coalesce(sum(minor) FILTER (WHERE part = 'exceptions'), 0)::bigint AS exceptions_minor
    FROM parts GROUP BY currency ORDER BY currency
    """
)
_TIMEOUT = Sql("SELECT set_config('statement_timeout', :milliseconds, true)")


class Runs:
    """`domain.reconciliation.ports.RunRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def add(self, run: Run) -> bool:
        """Insert a run, due at once; tell if it went in."""
        values = {name: getattr(run, name) for name in _NAMES}
        return (await self._connection.execute(_ADD, values)).rowcount == 1

    async def last_night(self) -> datetime | None:
        """Return where the period of the last nightly run ends; None when there was none."""
        found: datetime | None = (await self._connection.execute(_LAST_NIGHT)).scalar()
        return found

    async def lease(self, now: datetime, until: datetime) -> Run | None:
        """Take the oldest run that is due, unless one is being worked at."""
        if not (await self._connection.execute(_TRY_LOCK, {"key": RUN_LOCK})).scalar_one():
            return None
        values = {"now": now, "until": until, "beginning": BEGINNING}
        row = (await self._connection.execute(_LEASE, values)).first()
        return read_run(row) if row else None

    async def save(self, run: Run, *, due_at: datetime | None, until: datetime | None) -> bool:
        """Write where a leased run is, when it is due again, and until when the lease is."""
        values = {
            "id": run.id,
            "step": run.step,
            "cursor": run.cursor,
            "lines": run.lines,
            "due_at": due_at,
            "until": until,
            "lease_until": run.lease_until,
        }
        return (await self._connection.execute(_SAVE, values)).rowcount == 1

    async def finish(self, run: Run, *, statement_timeout_s: float) -> bool:
        """Add up what the run compared, and end it."""
        milliseconds = str(int(statement_timeout_s * 1000))
        await self._connection.execute(_TIMEOUT, {"milliseconds": milliseconds})
        opening, closing = await self._standings(run.from_at), await self._standings(run.to_at)
        balances = [
            {
                "currency": currency,
                "opening": opening.get(currency, _ZERO),
                "closing": closing.get(currency, _ZERO),
            }
            for currency in sorted({*opening, *closing})
        ]
        values = {
            "id": run.id,
            "status": run.status,
            "step": run.step,
            "from_at": run.from_at,
            "to_at": run.to_at,
            "finished_at": run.finished_at,
            "lease_until": run.lease_until,
            "balances": json.dumps(balances),
        }
        return (await self._connection.execute(_FINISH, values)).rowcount == 1

    async def _standings(self, at: datetime) -> dict[str, dict[str, int]]:
        midnight = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        values = {"at": at, "midnight": midnight, "day": midnight.date(), "first_id": first_journal_id(at)}
        rows = await self._connection.execute(_STANDING, values)
        return {row.currency: {name: getattr(row, name) for name in _ZERO} for row in rows}


_ZERO = {"stripe_minor": 0, "ledger_minor": 0, "in_transit_minor": 0, "exceptions_minor": 0}


def read_run(row: Row) -> Run:
    """Return the run of a row that has `COLUMNS`."""
    lease = {"lease_until": row.lease_until} if "lease_until" in row._fields else {}
    states = {"status": RunStatus(row.status), "step": Step(row.step)}
    return Run(**{**{name: getattr(row, name) for name in _NAMES}, **states, **lease})
