"""The ledger in PostgreSQL."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from db.connection import Connection, Row
from db.journal_spans import first_journal_id, last_journal_id
from db.ledger_proof import PROOFS, TOTALS
from db.sql import Sql
from domain.ids import JournalId, PaymentId
from domain.ledger.model import (
    Account,
    Balance,
    Begun,
    Conversion,
    CurrencyTotal,
    Entry,
    Journal,
    JournalKind,
    LedgerFault,
    TrialBalance,
    Verification,
)

ROLL_UP_LOCK = 0x6D66_0002
"""Names the roll-up among the advisory locks."""
CLAIM_LOCK = 0x6D66_0004
"""With an account's hash it names that account among the advisory locks."""

# Journals and entries go in by one statement, because the triggers check both when it ends.
_POST = Sql(
    """
    WITH posted AS (
        INSERT INTO journals (id, kind, source, payment_id, currency, entry_count, created_at)
        SELECT * FROM unnest(
            CAST(:id AS uuid[]), CAST(:kind AS text[]), CAST(:source AS text[]), CAST(:payment_id AS uuid[]),
            CAST(:currency AS text[]), CAST(:entry_count AS smallint[]), CAST(:created_at AS timestamptz[]))
    )
    INSERT INTO entries (journal_id, line, account, currency, amount_minor)
    SELECT * FROM unnest(
        CAST(:journal_id AS uuid[]), CAST(:line AS smallint[]), CAST(:account AS text[]),
        CAST(:entry_currency AS text[]), CAST(:amount_minor AS bigint[]))
    """
)
_CONVERT = Sql(
    """
    INSERT INTO conversions (journal_id, from_currency, from_minor, to_currency, to_minor, exchange_rate)
    VALUES (:journal_id, :from_currency, :from_minor, :to_currency, :to_minor, :exchange_rate)
    """
)
_SELECT = """
    SELECT j.id, j.kind, j.source, j.payment_id, j.currency, j.created_at,
           (SELECT to_json(c) FROM (
               SELECT from_currency, from_minor, to_currency, to_minor, exchange_rate::text AS exchange_rate
               FROM conversions WHERE journal_id = j.id) AS c) AS conversion,
           (SELECT json_agg(e ORDER BY e.line) FROM entries e WHERE e.journal_id = j.id) AS entries
    FROM journals j
"""
_JOURNAL = Sql(f"{_SELECT} WHERE j.id = :id")
_BY_SOURCE = Sql(f"{_SELECT} WHERE j.kind = :kind AND j.source = :source")
_JOURNALS_OF = Sql(
    f"""{_SELECT}
    WHERE j.id IN (
        SELECT DISTINCT e.journal_id FROM entries e
        WHERE e.account = :account AND (CAST(:after AS uuid) IS NULL OR e.journal_id < :after)
        ORDER BY e.journal_id DESC LIMIT :limit)
    ORDER BY j.id DESC
    """
)
_PAYMENTS_OF = Sql(
    """
    SELECT source, payment_id FROM journals
    WHERE kind IN ('charge', 'unapplied_charge') AND source = ANY(:charge_ids) AND payment_id IS NOT NULL
    ORDER BY source
    """
)
UNFOLDED = """
    (SELECT account, currency, amount_minor FROM entries
     WHERE transaction_id >= (SELECT through FROM balance_folds) OFFSET 0)
"""
"""Entries that no balance holds yet.

PERF: OFFSET 0 keeps other conditions out of this subquery. The planner does not know how few rows it has, and
would read an account's whole past by the index of accounts.
"""

# Whether a snapshot saw an entry `e`; null without one.
_SEEN = "pg_visible_in_snapshot(e.transaction_id::text::xid8, CAST(:snapshot AS pg_snapshot))"
_PARTS = f"""
    SELECT account, currency, balance_minor AS amount_minor FROM balances
    UNION ALL
    SELECT account, currency, amount_minor FROM {UNFOLDED} AS unfolded
"""
_BALANCES = f"""
    SELECT account, currency, sum(amount_minor)::bigint AS balance_minor
    FROM ({_PARTS}) AS parts
    GROUP BY account, currency ORDER BY account, currency
"""
_BALANCE_PAGE = Sql(
    f"""
    SELECT account, currency, sum(amount_minor)::bigint AS balance_minor
    FROM ({_PARTS}) AS parts
    WHERE (account, currency) > (:account, :currency)
    GROUP BY account, currency ORDER BY account, currency LIMIT :limit
    """
)
# Sorted by what is locked: two accounts may have one hash.
_CLAIM = Sql(
    """
    SELECT pg_advisory_xact_lock(:key, hash)
    FROM (
        SELECT DISTINCT hashtext(account) AS hash FROM unnest(CAST(:accounts AS text[])) AS n (account) ORDER BY 1
    ) AS claimed
    """
)
_BALANCES_OF = Sql(
    f"""
    SELECT account, currency, sum(amount_minor)::bigint AS balance_minor
    FROM (
        SELECT account, currency, balance_minor AS amount_minor FROM balances WHERE account = ANY(:accounts)
        UNION ALL
        SELECT account, currency, amount_minor FROM {UNFOLDED} AS unfolded WHERE account = ANY(:accounts)
    ) AS parts
    GROUP BY account, currency ORDER BY account, currency
    """
)
# The balances of now, less what was booked since, or was committed after a snapshot: the cost grows with what came
# since, not with all there ever was. An account whose balance is zero is left out, unless it had entries by then.
_BALANCES_AT = f"""
    SELECT account, currency, sum(amount_minor)::bigint AS balance_minor
    FROM (
        {_PARTS}
        UNION ALL
        SELECT e.account, e.currency, -e.amount_minor
        FROM journals j JOIN entries e ON e.journal_id = j.id
        WHERE j.id >= :first_id AND e.journal_id >= :first_id
            AND (j.created_at > :at OR {_SEEN} IS FALSE)
    ) AS parts
    GROUP BY account, currency
    HAVING sum(amount_minor) <> 0 OR EXISTS (
        SELECT FROM entries e JOIN journals j ON j.id = e.journal_id
        WHERE e.account = parts.account AND e.currency = parts.currency
            AND e.journal_id <= :last_id AND j.created_at <= :at AND {_SEEN} IS NOT FALSE)
    ORDER BY account, currency
"""


def _trial_balance(balances: str, snapshot: str) -> Sql:
    """Return the statement of a page of balances, and the totals over all of them, which bear no account.

    A last row tells the snapshot; it bears no currency either.
    """
    return Sql(
        f"""
        WITH every AS MATERIALIZED ({balances})
        (SELECT account, currency, greatest(balance_minor, 0) AS debit_minor,
                greatest(-balance_minor, 0) AS credit_minor
         FROM every WHERE (account, currency) > (:account, :currency)
         ORDER BY account, currency LIMIT :limit)
        UNION ALL
        (SELECT NULL, currency, sum(greatest(balance_minor, 0))::bigint, sum(greatest(-balance_minor, 0))::bigint
         FROM every GROUP BY currency ORDER BY currency)
        UNION ALL
        SELECT {snapshot}::text, NULL, NULL, NULL
        """
    )


_TRIAL_BALANCE = _trial_balance(_BALANCES, "pg_current_snapshot()")
_TRIAL_BALANCE_AT = _trial_balance(_BALANCES_AT, "coalesce(CAST(:snapshot AS pg_snapshot), pg_current_snapshot())")
# Later than every journal: what a snapshot saw counts, whatever the clock of who posted it said.
_NEVER = datetime(9000, 12, 31, tzinfo=UTC)
_TRY_LOCK = Sql("SELECT pg_try_advisory_xact_lock(:key)")
# Every transaction below the snapshot's xmin has ended for good. The fold moves `through` up to there and adds the
# entries between, in one statement, so that no balance counts an entry twice or misses it.
_ROLL_UP = Sql(
    """
    WITH span AS (
        SELECT through AS low, pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS high FROM balance_folds
    ), moved AS (
        UPDATE balance_folds SET through = span.high FROM span
    ), sums AS (
        SELECT account, currency, sum(amount_minor)::bigint AS balance_minor, count(*) AS entries
        FROM entries, span
        WHERE transaction_id >= span.low AND transaction_id < span.high
        GROUP BY account, currency
    ), folded AS (
        INSERT INTO balances AS b (account, currency, balance_minor)
        SELECT account, currency, balance_minor FROM sums ORDER BY account, currency
        ON CONFLICT (account, currency)
            DO UPDATE SET balance_minor = b.balance_minor + excluded.balance_minor
    )
    SELECT coalesce(sum(entries), 0)::bigint FROM sums
    """
)
_COUNTS = Sql("SELECT (SELECT count(*) FROM journals) AS journals, (SELECT count(*) FROM entries) AS entries")


class Ledger:
    """`domain.ledger.ports.LedgerRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def post(self, journals: Sequence[Journal]) -> None:
        """Insert journals with their entries in one statement, and their conversions after it."""
        if not journals:
            return
        # Two transactions that post the same journals wait for each other in one order.
        ordered = sorted(journals, key=lambda journal: (journal.kind, journal.source))
        names = ("id", "kind", "source", "payment_id", "currency", "created_at")
        columns: dict[str, list[object]] = {name: [getattr(j, name) for j in ordered] for name in names}
        columns["entry_count"] = [len(journal.entries) for journal in ordered]
        rows = [(journal, line, entry) for journal in ordered for line, entry in enumerate(journal.entries, 1)]
        columns["journal_id"] = [journal.id for journal, _, _ in rows]
        columns["line"] = [line for _, line, _ in rows]
        columns["account"] = [entry.account for _, _, entry in rows]
        columns["entry_currency"] = [journal.currency for journal, _, _ in rows]
        columns["amount_minor"] = [entry.amount_minor for _, _, entry in rows]
        await self._connection.execute(_POST, columns)
        for journal in ordered:
            if journal.conversion is not None:
                conversion = asdict(journal.conversion)
                await self._connection.execute(_CONVERT, {"journal_id": journal.id, **conversion})

    async def journal(self, journal_id: JournalId) -> Journal | None:
        """Return a journal with its entries."""
        row = (await self._connection.execute(_JOURNAL, {"id": journal_id})).first()
        return _journal(row) if row else None

    async def journals_of(self, account: Account, *, limit: int, after: JournalId | None) -> Sequence[Journal]:
        """Return the journals that touch an account, newest first."""
        values = {"account": account, "limit": limit, "after": after}
        return [_journal(row) for row in await self._connection.execute(_JOURNALS_OF, values)]

    async def by_source(self, kind: JournalKind, source: str) -> Journal | None:
        """Return the journal of a kind that a source has caused."""
        row = (await self._connection.execute(_BY_SOURCE, {"kind": kind, "source": source})).first()
        return _journal(row) if row else None

    async def payments_of(self, charge_ids: Collection[str]) -> Mapping[str, PaymentId]:
        """Return the payment of each Stripe charge that is booked."""
        rows = await self._connection.execute(_PAYMENTS_OF, {"charge_ids": list(charge_ids)})
        return {row.source: row.payment_id for row in rows}

    async def balances_of(self, accounts: Collection[Account]) -> Sequence[Balance]:
        """Return the balances of some accounts, in each of their currencies, what is posted here included."""
        rows = await self._connection.execute(_BALANCES_OF, {"accounts": list(accounts)})
        return [Balance(**row._mapping) for row in rows]

    async def claim(self, accounts: Collection[Account]) -> None:
        """Let others who claim one of some accounts wait until the transaction ends, in one sorted order."""
        await self._connection.execute(_CLAIM, {"key": CLAIM_LOCK, "accounts": list(accounts)})

    async def trial_balance(
        self, after: tuple[str, str], *, at: datetime | None, limit: int, begun: Begun | None = None
    ) -> TrialBalance:
        """Return the balances that follow an account and currency, and the totals over all, of one moment."""
        account, currency = after
        page = {"account": account, "currency": currency, "limit": limit}
        if at is None and begun is None:
            rows = await self._connection.execute(_TRIAL_BALANCE, page)
        else:
            rows = await self._connection.execute(_TRIAL_BALANCE_AT, {**page, **_ends(at, begun)})
        balances, totals, snapshot = [], [], ""
        for text, currency, debit_minor, credit_minor in rows:
            if currency is None:
                snapshot = text
            elif text is not None:
                balances.append(Balance(text, currency, debit_minor - credit_minor))
            else:
                totals.append(CurrencyTotal(currency, debit_minor, credit_minor))
        return TrialBalance(balances, totals, snapshot)

    async def balance_page(self, after: tuple[str, str], *, limit: int) -> Sequence[Balance]:
        """Return the balances that follow an account and currency, sorted."""
        account, currency = after
        values = {"account": account, "currency": currency, "limit": limit}
        return [Balance(**row._mapping) for row in await self._connection.execute(_BALANCE_PAGE, values)]

    async def roll_up(self) -> int:
        """Fold the entries of finished transactions into the stored balances; return how many."""
        if not (await self._connection.execute(_TRY_LOCK, {"key": ROLL_UP_LOCK})).scalar_one():
            return 0
        return int((await self._connection.execute(_ROLL_UP)).scalar_one())

    async def verify(self) -> Verification:
        """Recompute everything from the entries."""
        counts = (await self._connection.execute(_COUNTS)).one()
        totals = [Balance(**row._mapping) for row in await self._connection.execute(TOTALS)]
        faults = [
            LedgerFault(what=what, where=str(row[0]))
            for what, proof in PROOFS.items()
            for row in await self._connection.execute(proof)
        ]
        return Verification(counts.journals, counts.entries, totals, faults)


def _ends(at: datetime | None, begun: Begun | None) -> dict[str, object]:
    """Return what a trial balance counts: by a time, a snapshot, and the journals between which both end."""
    times = [time for time in (at, begun.read_at if begun else None) if time is not None]
    return {
        "at": at or _NEVER,
        "snapshot": begun.snapshot if begun else None,
        "first_id": first_journal_id(min(times)),
        "last_id": last_journal_id(times[0]),
    }


def _journal(row: Row) -> Journal:
    return Journal(
        id=row.id,
        kind=JournalKind(row.kind),
        source=row.source,
        payment_id=row.payment_id,
        currency=row.currency,
        entries=tuple(Entry(Account(entry["account"]), entry["amount_minor"]) for entry in row.entries),
        created_at=row.created_at,
        conversion=_conversion(row.conversion) if row.conversion is not None else None,
    )


def _conversion(row: Mapping[str, Any]) -> Conversion:
    rate = row["exchange_rate"]
    return Conversion(**{**row, "exchange_rate": Decimal(rate) if rate is not None else None})
