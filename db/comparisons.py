"""What is known of Stripe's lines, and which journals are theirs, in PostgreSQL."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from db.connection import Connection, Row
from db.journal_spans import first_journal_id, last_journal_id
from db.payout_contents import PayoutContents
from db.reconciliation_exceptions import Exceptions
from db.sql import Sql
from domain.ids import ExceptionId, JournalId, PaymentId
from domain.ledger.model import JournalKind
from domain.reconciliation.model import BookedJournal, Finding, ReconciliationException, Run, StripeLine
from domain.reconciliation.ports import LinePage
from domain.reconciliation.rules import BANK_PAYOUTS

_LINE_NAMES = (
    "id",
    "category",
    "source",
    "amount_minor",
    "fee_minor",
    "currency",
    "created_at",
    "payment_id",
    "charge_id",
    "intent_id",
)
_LINE = ", ".join(f"t.{name}" for name in _LINE_NAMES)
_MAX_RIVALS = 1_000

_RIVALS = Sql(
    f"""
    SELECT {_LINE} FROM stripe_transactions t
    JOIN (
        SELECT DISTINCT * FROM unnest(CAST(:sources AS text[]), CAST(:categories AS text[]))
    ) AS of (source, category) ON t.source = of.source AND t.category = of.category
    WHERE t.id <> ALL(CAST(:ids AS text[]))
    ORDER BY t.id LIMIT {_MAX_RIVALS}
    """
)
_LINES = Sql(f"SELECT {_LINE} FROM stripe_transactions t WHERE t.id = ANY(:ids) ORDER BY t.id")
_JOURNAL = """
    SELECT j.id, j.kind, j.source, j.currency, j.payment_id, j.created_at, b.balance_minor
    FROM journals j
    CROSS JOIN LATERAL (
        SELECT sum(e.amount_minor)::bigint AS balance_minor FROM entries e
        WHERE e.journal_id = j.id AND e.account = 'stripe_balance') AS b
"""
_JOURNALS = Sql(
    f"""{_JOURNAL}
    JOIN unnest(CAST(:kinds AS text[]), CAST(:sources AS text[])) AS key (kind, source)
        ON j.kind = key.kind AND j.source = key.source
    WHERE b.balance_minor <> 0 ORDER BY j.id
    """
)
_JOURNALS_BY_ID = Sql(f"{_JOURNAL} WHERE j.id = ANY(:ids) AND b.balance_minor <> 0 ORDER BY j.id")
# What a line's source says of itself, else the charge behind it: as it is booked, or as Stripe listed it.
_OWNERS = Sql(
    """
    SELECT l.id, p.id AS payment_id
    FROM unnest(CAST(:ids AS text[]), CAST(:payment_ids AS uuid[]), CAST(:charge_ids AS text[]))
        AS l (id, payment_id, charge_id)
    LEFT JOIN LATERAL (
        SELECT payment_id FROM journals
        WHERE kind IN ('charge', 'unapplied_charge') AND source = l.charge_id AND payment_id IS NOT NULL
        LIMIT 1) AS j ON true
    LEFT JOIN LATERAL (
        SELECT payment_id FROM stripe_transactions
        WHERE source = l.charge_id AND category = 'charge' AND payment_id IS NOT NULL
        LIMIT 1) AS t ON true
    JOIN payments p ON p.id = coalesce(l.payment_id, j.payment_id, t.payment_id)
    ORDER BY l.id
    """
)
_KEEP_LINES = Sql(
    """
    INSERT INTO stripe_transactions AS t (id, category, source, amount_minor, fee_minor, currency, created_at,
        payment_id, charge_id, intent_id, verdict, ledger_minor, ledger_fee_minor, seen_at)
    SELECT *, :seen_at FROM unnest(
        CAST(:id AS text[]), CAST(:category AS text[]), CAST(:source AS text[]), CAST(:amount_minor AS bigint[]),
        CAST(:fee_minor AS bigint[]), CAST(:currency AS text[]), CAST(:created_at AS timestamptz[]),
        CAST(:payment_id AS uuid[]), CAST(:charge_id AS text[]), CAST(:intent_id AS text[]),
        CAST(:verdict AS text[]), CAST(:ledger_minor AS bigint[]), CAST(:ledger_fee_minor AS bigint[]))
    ON CONFLICT (id) DO UPDATE
    SET category = excluded.category, source = excluded.source, amount_minor = excluded.amount_minor,
        fee_minor = excluded.fee_minor, currency = excluded.currency, created_at = excluded.created_at,
        payment_id = excluded.payment_id, charge_id = excluded.charge_id, intent_id = excluded.intent_id,
        verdict = excluded.verdict, ledger_minor = excluded.ledger_minor,
        ledger_fee_minor = excluded.ledger_fee_minor,
        seen_at = CASE WHEN t.id = ANY(CAST(:seen_ids AS text[])) THEN excluded.seen_at ELSE t.seen_at END
    """
)
_KEEP_JOURNALS = Sql(
    """
    INSERT INTO reconciled_journals AS r (journal_id, transaction_id, reconciliation_id, is_healing)
    SELECT journal_id, transaction_id, :run_id, is_healing FROM unnest(
        CAST(:journal_id AS uuid[]), CAST(:transaction_id AS text[]), CAST(:is_healing AS boolean[]))
        AS found (journal_id, transaction_id, is_healing)
    ON CONFLICT (journal_id) DO UPDATE SET transaction_id = excluded.transaction_id
    WHERE r.transaction_id <> excluded.transaction_id
    """
)
_CONTENTS_KNOWN_AFTER = timedelta(days=30)
"""Stripe has listed by then what is in a payout, or never will: those that were asked for by hand."""
# PERF: of what was before the period only our own few are looked at, not all lines of a month.
_NEXT_PAYOUT = Sql(
    f"""
    WITH wanted AS (
        SELECT t.id FROM stripe_transactions t
        WHERE t.category = :category AND t.created_at >= :from_at AND t.created_at < :to_at AND t.id > :after
        UNION
        SELECT t.id FROM journals j
        JOIN stripe_transactions t ON t.source = j.source AND t.category = :category
        WHERE j.kind = 'bank_payout' AND j.created_at >= :unknown_since AND t.created_at < :to_at AND t.id > :after
            AND NOT EXISTS (SELECT FROM stripe_payout_contents c WHERE c.transaction_id = t.id AND c.is_whole)
        UNION
        SELECT t.id FROM reconciliation_exceptions x
        JOIN stripe_transactions t ON t.id = x.stripe_transaction_id
        WHERE x.status = 'open' AND t.category = :category AND t.created_at < :to_at AND t.id > :after
    )
    SELECT {_LINE} FROM stripe_transactions t WHERE t.id = (SELECT min(id) FROM wanted)
    """
)
_FORGET = Sql(
    """
    WITH gone AS (
        DELETE FROM stripe_transactions
        WHERE created_at >= :from_at AND created_at < :to_at AND seen_at < :started_at
        RETURNING id
    )
    UPDATE reconciliation_exceptions
    SET status = 'closed', closed_at = :now, closed_by = :run_id, updated_at = :now
    WHERE key IN (SELECT id FROM gone) AND status IN ('open', 'resolved')
    """
)
_NEXT_JOURNALS = Sql(
    """
    SELECT id FROM journals
    WHERE id > :after AND id < CAST(:last AS uuid) ORDER BY id LIMIT :limit
    """
)
_UNSEEN = Sql(
    f"""
    WITH lone AS (
        SELECT j.id, j.payment_id FROM journals j
        WHERE j.id > :after AND j.id <= :last AND j.created_at >= :from_at AND j.created_at < :to_at
            AND j.kind <> 'correction'
            AND EXISTS (SELECT FROM entries e WHERE e.journal_id = j.id AND e.account = 'stripe_balance')
            AND NOT EXISTS (
                SELECT FROM reconciled_journals r JOIN stripe_transactions t ON t.id = r.transaction_id
                WHERE r.journal_id = j.id)
    )
    {_JOURNAL}
    WHERE b.balance_minor <> 0 AND j.id IN (
        SELECT id FROM lone
        UNION
        SELECT o.id FROM journals o JOIN lone ON lone.payment_id = o.payment_id
        WHERE o.kind <> 'correction' AND o.created_at < :to_at AND NOT EXISTS (
            SELECT FROM reconciled_journals r JOIN stripe_transactions t ON t.id = r.transaction_id
            WHERE r.journal_id = o.id))
    ORDER BY j.id
    """
)


class Comparisons:
    """`domain.reconciliation.ports.ComparisonRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection
        self._exceptions = Exceptions(connection)
        self._contents = PayoutContents(connection)

    async def rivals(self, lines: Sequence[StripeLine]) -> Sequence[StripeLine]:
        """Return the other known lines that have category and source of one of these."""
        named = [line for line in lines if line.source is not None]
        values = {
            "sources": [line.source for line in named],
            "categories": [line.category for line in named],
            "ids": [line.id for line in lines],
        }
        return [_line(row) for row in await self._connection.execute(_RIVALS, values)]

    async def lines(self, ids: Collection[str]) -> Sequence[StripeLine]:
        """Return the known lines among these."""
        return [_line(row) for row in await self._connection.execute(_LINES, {"ids": sorted(ids)})]

    async def journals(self, keys: Sequence[tuple[JournalKind, str]]) -> Sequence[BookedJournal]:
        """Return the journals that exist of these kinds and sources."""
        values = {"kinds": [kind for kind, _ in keys], "sources": [source for _, source in keys]}
        return [_journal(row) for row in await self._connection.execute(_JOURNALS, values)]

    async def journals_by_id(self, ids: Collection[JournalId]) -> Sequence[BookedJournal]:
        """Return the journals among these."""
        return [_journal(row) for row in await self._connection.execute(_JOURNALS_BY_ID, {"ids": sorted(ids)})]

    async def owners(self, lines: Sequence[StripeLine]) -> Mapping[str, PaymentId]:
        """Return the payment that each line is about, by the line's id, as far as we know one."""
        values = {
            "ids": [line.id for line in lines],
            "payment_ids": [line.payment_id for line in lines],
            "charge_ids": [line.charge_id for line in lines],
        }
        return {row.id: row.payment_id for row in await self._connection.execute(_OWNERS, values)}

    async def record(
        self,
        run: Run,
        findings: Sequence[Finding],
        now: datetime,
        *,
        seen: Collection[str] = (),
        mended: Collection[str] = (),
    ) -> None:
        """Write what was found: the lines, whose journals are whose, and the exceptions."""
        if not findings:
            return
        await self._keep_lines(findings, seen, now)
        await self._keep_journals(run, findings, mended)
        await self._exceptions.hold({finding.key for finding in findings})
        await self._exceptions.keep(run, [finding for finding in findings if finding.kind is not None], now)
        agreed = [finding.key for finding in findings if finding.kind is None]
        # Journals that Stripe had no line for have an exception of their own, until it has one.
        listed = [str(each.id) for finding in findings if finding.line for each in finding.ledger.journals]
        await self._exceptions.close(run, [*agreed, *listed], now, mended=mended)

    async def close(self, run: Run, keys: Collection[str], now: datetime) -> None:
        """Close exceptions of which both sides are gone."""
        await self._exceptions.close(run, keys, now)

    async def corrected(self, findings: Sequence[Finding]) -> Collection[str]:
        """Return the keys of those findings whose movement a person has corrected, and nobody back again."""
        return await self._exceptions.corrected(findings)

    async def open_exceptions(self, *, after: ExceptionId | None, limit: int) -> Sequence[ReconciliationException]:
        """Return open exceptions in the order of their ids."""
        return await self._exceptions.page_of_open(after=after, limit=limit)

    async def next_payout(self, run: Run, after: str | None) -> StripeLine | None:
        """Return the line of the next payout of a run's period, or of one before it to look at again."""
        values = {
            "category": BANK_PAYOUTS,
            "from_at": run.listed_from_at or run.from_at,
            "to_at": run.to_at,
            "unknown_since": run.to_at - _CONTENTS_KNOWN_AFTER,
            "after": after or "",
        }
        row = (await self._connection.execute(_NEXT_PAYOUT, values)).first()
        return _line(row) if row else None

    async def unpack(self, payout: StripeLine, page: LinePage | None, *, is_first: bool) -> None:
        """Write in which payout the lines of a page are, and add them up."""
        await self._contents.unpack(payout, page, is_first=is_first)

    async def contents(self, lines: Sequence[StripeLine]) -> Mapping[str, int]:
        """Return what the transactions in each payout come to, by the payout's line, where all are known."""
        return await self._contents.of([line.id for line in lines if line.category == BANK_PAYOUTS])

    async def forget_unseen(self, run: Run, now: datetime) -> None:
        """Forget lines of a run's period that Stripe lists no more, and close what was open or decided on them."""
        values = {
            "from_at": run.listed_from_at,
            "to_at": run.to_at,
            "started_at": run.started_at,
            "run_id": run.id,
            "now": now,
        }
        await self._connection.execute(_FORGET, values)

    async def unseen_journals(
        self, run: Run, *, after: JournalId | None, limit: int
    ) -> tuple[Sequence[BookedJournal], JournalId | None]:
        """Look at the next journals of a run's period; return those that no line is known for, and the last id."""
        from_at = run.listed_from_at or run.from_at
        first = after or first_journal_id(from_at)
        values = {"after": first, "last": last_journal_id(run.to_at), "limit": limit}
        ids = (await self._connection.execute(_NEXT_JOURNALS, values)).scalars().all()
        if not ids:
            return [], None
        span = {"after": first, "last": ids[-1], "from_at": from_at, "to_at": run.to_at}
        found = [_journal(row) for row in await self._connection.execute(_UNSEEN, span)]
        return found, ids[-1]

    async def _keep_lines(self, findings: Sequence[Finding], seen: Collection[str], now: datetime) -> None:
        found = sorted(
            ((finding.line, finding) for finding in findings if finding.line is not None),
            key=lambda pair: pair[0].id,
        )
        columns: dict[str, object] = {name: [getattr(line, name) for line, _ in found] for name in _LINE_NAMES}
        columns["verdict"] = [finding.kind or "matched" for _, finding in found]
        columns["ledger_minor"] = [finding.ledger.amount_minor for _, finding in found]
        columns["ledger_fee_minor"] = [finding.ledger.fee_minor for _, finding in found]
        if found:
            values = {**columns, "seen_ids": list(seen), "seen_at": now}
            await self._connection.execute(_KEEP_LINES, values)

    async def _keep_journals(self, run: Run, findings: Sequence[Finding], mended: Collection[str]) -> None:
        pairs = sorted(
            (journal.id, finding.line.id)
            for finding in findings
            if finding.line is not None
            for journal in finding.ledger.journals
        )
        if pairs:
            values = {
                "journal_id": [journal_id for journal_id, _ in pairs],
                "transaction_id": [line_id for _, line_id in pairs],
                "is_healing": [line_id in mended for _, line_id in pairs],
                "run_id": run.id,
            }
            await self._connection.execute(_KEEP_JOURNALS, values)


def _line(row: Row) -> StripeLine:
    return StripeLine(**row._mapping)


def _journal(row: Row) -> BookedJournal:
    return BookedJournal(**{**row._mapping, "kind": JournalKind(row.kind)})
