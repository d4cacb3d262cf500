"""Reversals of transfers in PostgreSQL: made for what went back of a payment that was paid out, and worked at."""

from collections.abc import Collection, Sequence
from datetime import datetime

from db.connection import Connection, Row
from db.payouts import PAYOUTS_LOCK, SHARES
from db.sql import Sql
from domain.ids import JournalId, PayoutId, ReversalId
from domain.payouts.model import PaidDebit, Reversal, ReversalStatus

_NAMES = (
    "id",
    "payout_id",
    "amount_minor",
    "currency",
    "status",
    "created_at",
    "updated_at",
    "payment_id",
    "journal_id",
    "line",
    "failure_code",
    "stripe_reversal_id",
    "attempts",
    "key_number",
    "first_sent_at",
    "key_burnt_at",
)
_COLUMNS = ", ".join(f"t.{name}" for name in _NAMES)
# What a seller loses by a refund or a withdrawal that stands, beside the payout from which it can be taken back:
# the last one that took a share of that payment and has something left, both in the currency that Stripe settled
# in, where it exchanged them. The payout is locked though it is not booked yet: whoever books it meanwhile is
# waited for, or sees this debit. Of a dispute that took money again, what it took before had been given back.
_DEBITS = f"""
    SELECT d.journal_id, d.line, d.amount_minor, j.payment_id, t.id AS payout_id, t.currency,
           t.amount_minor - t.reversed_minor AS left_minor, t.stripe_transfer_id IS NOT NULL AS is_booked
    FROM journals j
    JOIN entries d ON d.journal_id = j.id AND d.account LIKE 'seller\\_payable:%' AND d.amount_minor > 0
    JOIN LATERAL (
        SELECT x.payout_id
        FROM journals c
        JOIN entries e ON e.journal_id = c.id
        JOIN payout_entries x ON x.journal_id = e.journal_id AND x.line = e.line
        JOIN payouts p ON p.id = x.payout_id
        WHERE c.payment_id = j.payment_id AND c.kind IN {SHARES}
            AND e.account = d.account AND e.currency = d.currency AND e.amount_minor < 0
            AND p.reversed_minor < p.amount_minor
        ORDER BY c.id DESC LIMIT 1
    ) AS s ON true
    JOIN payouts t ON t.id = s.payout_id
    WHERE (j.kind = 'conversion_settled' OR (j.kind IN ('refund', 'dispute_opened') AND NOT EXISTS (
            SELECT FROM journals v
            WHERE v.payment_id = j.payment_id AND v.kind = 'conversion_charged')))
        AND NOT EXISTS (SELECT FROM payout_entries y WHERE y.journal_id = d.journal_id AND y.line = d.line)
        AND NOT EXISTS (SELECT FROM payout_reversals r WHERE r.journal_id = d.journal_id AND r.line = d.line)
        AND NOT EXISTS (
            SELECT FROM refunds u
            WHERE u.payment_id = j.payment_id AND u.status = 'failed'
                AND j.source IN (u.stripe_refund_id, u.transaction_id))
        AND NOT EXISTS (
            SELECT FROM disputes u
            WHERE u.payment_id = j.payment_id AND j.source = ANY(u.transaction_ids)
                AND (u.funds = 'reinstated' OR j.source <> u.withdrawal_id))
"""
# Without it, a payout could be drafted, sent and booked between this look and the commit of the loss, and neither
# of the two would see the other.
_KEEP_FROM_DRAFTING = Sql(
    """
    SELECT pg_advisory_xact_lock_shared(:key, hashtext(seller_id))
    FROM (
        SELECT DISTINCT split_part(account, ':', 2) AS seller_id FROM entries
        WHERE journal_id = ANY(:journal_ids) AND account LIKE 'seller\\_payable:%' AND amount_minor > 0
        ORDER BY 1
    ) AS losers
    """
)
_DEBITS_OF_JOURNALS = Sql(
    f"{_DEBITS} AND j.id = ANY(:journal_ids) ORDER BY t.id, d.journal_id, d.line FOR NO KEY UPDATE OF t"
)
_DEBITS_OF_PAYOUT = Sql(
    f"""
    {_DEBITS} AND t.id = :payout_id AND j.payment_id IN (
        SELECT o.payment_id FROM payout_entries p JOIN journals o ON o.id = p.journal_id
        WHERE p.payout_id = :payout_id AND o.kind IN {SHARES})
    ORDER BY d.journal_id, d.line
    """
)
_ADD = Sql(
    """
    INSERT INTO payout_reversals (
        id, payout_id, payment_id, journal_id, line, amount_minor, currency, status, created_at, updated_at,
        due_at, publish_at)
    VALUES (:id, :payout_id, :payment_id, :journal_id, :line, :amount_minor, :currency, 'pending', :created_at,
            :created_at, :created_at, :created_at)
    """
)
_ADDED_COLUMNS = (
    "id",
    "payout_id",
    "payment_id",
    "journal_id",
    "line",
    "amount_minor",
    "currency",
    "created_at",
)
_LEASE = Sql(
    f"""
    WITH free AS (
        SELECT id FROM payout_reversals
        WHERE id = ANY(:ids) AND due_at <= :now AND (locked_until IS NULL OR locked_until <= :now)
        ORDER BY id FOR UPDATE SKIP LOCKED
    )
    UPDATE payout_reversals t
    SET attempts = t.attempts + 1, first_sent_at = coalesce(t.first_sent_at, :now),
        locked_until = :locked_until, publish_at = :locked_until
    FROM free WHERE t.id = free.id
    RETURNING {_COLUMNS}
    """
)
_FIND = Sql(
    f"""
    SELECT {_COLUMNS} FROM payout_reversals t
    WHERE t.stripe_reversal_id = :stripe_reversal_id OR t.id = :id
    ORDER BY t.stripe_reversal_id IS NOT DISTINCT FROM :stripe_reversal_id DESC LIMIT 1
    """
)
_LOCK = Sql(f"SELECT {_COLUMNS} FROM payout_reversals t WHERE t.id = :id FOR NO KEY UPDATE OF t")
_OF_PAYOUT = Sql(
    f"SELECT {_COLUMNS} FROM payout_reversals t WHERE t.payout_id = :payout_id ORDER BY t.id LIMIT 1000"
)
_SAVE = Sql(
    """
    UPDATE payout_reversals
    SET status = :status, failure_code = :failure_code, stripe_reversal_id = :stripe_reversal_id,
        key_number = :key_number, first_sent_at = :first_sent_at, key_burnt_at = :key_burnt_at,
        updated_at = :updated_at, due_at = :due_at, publish_at = :due_at, locked_until = NULL,
        quarantined_at = NULL, quarantine_reason = NULL
    WHERE id = :id
    """
)
_SAVED_COLUMNS = (
    "id",
    "status",
    "failure_code",
    "stripe_reversal_id",
    "key_number",
    "first_sent_at",
    "key_burnt_at",
    "updated_at",
)
_REVERSED = Sql(
    """
    SELECT coalesce(sum(amount_minor), 0)::bigint FROM payout_reversals
    WHERE payout_id = :payout_id AND status = 'succeeded'
    """
)
_QUARANTINE = Sql(
    """
    UPDATE payout_reversals
    SET quarantined_at = :at, quarantine_reason = :reason, due_at = NULL, publish_at = NULL, locked_until = NULL
    WHERE id = :id
    """
)


class ReversalWork:
    """`domain.settlement.ports.ReversalWorkRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def debits_of(self, journal_ids: Collection[JournalId]) -> Sequence[PaidDebit]:
        """Lock the payouts that took the shares of refunds and disputes; return what sellers lose by those."""
        values = {"journal_ids": list(journal_ids)}
        await self._connection.execute(_KEEP_FROM_DRAFTING, {**values, "key": PAYOUTS_LOCK})
        rows = await self._connection.execute(_DEBITS_OF_JOURNALS, values)
        return [_debit(row) for row in rows if row.is_booked]

    async def debits_of_payout(self, payout_id: PayoutId) -> Sequence[PaidDebit]:
        """Return the same of all shares of a locked payout that is booked."""
        rows = await self._connection.execute(_DEBITS_OF_PAYOUT, {"payout_id": payout_id})
        return [_debit(row) for row in rows if row.is_booked]

    async def add(self, reversals: Sequence[Reversal]) -> None:
        """Insert reversals of locked payouts, due at once."""
        for reversal in reversals:
            values = {name: getattr(reversal, name) for name in _ADDED_COLUMNS}
            await self._connection.execute(_ADD, values)

    async def lease(self, ids: Sequence[ReversalId], now: datetime, locked_until: datetime) -> Sequence[Reversal]:
        """Take those of the reversals that are due and that nobody holds, skipping locked rows."""
        values = {"ids": list(ids), "now": now, "locked_until": locked_until}
        return [_reversal(row) for row in await self._connection.execute(_LEASE, values)]

    async def find(self, reversal_id: ReversalId | None, stripe_reversal_id: str | None) -> Reversal | None:
        """Return the reversal with Stripe's id, or else the one with ours, unlocked."""
        values = {"id": reversal_id, "stripe_reversal_id": stripe_reversal_id}
        row = (await self._connection.execute(_FIND, values)).first()
        return _reversal(row) if row else None

    async def of_payout(self, payout_id: PayoutId) -> Sequence[Reversal]:
        """Return what is or was to be taken back of a payout, oldest first, at most 1,000."""
        rows = await self._connection.execute(_OF_PAYOUT, {"payout_id": payout_id})
        return [_reversal(row) for row in rows]

    async def lock(self, reversal_id: ReversalId) -> Reversal:
        """Lock a reversal that exists until the transaction ends. Lock its payout first."""
        return _reversal((await self._connection.execute(_LOCK, {"id": reversal_id})).one())

    async def save(self, reversal: Reversal, *, due_at: datetime | None) -> None:
        """Write a locked reversal and when it is due again, and end its lease and its quarantine."""
        values = {name: getattr(reversal, name) for name in _SAVED_COLUMNS}
        await self._connection.execute(_SAVE, {**values, "due_at": due_at})

    async def reversed_minor(self, payout_id: PayoutId) -> int:
        """Return how much of a payout was taken back."""
        return int((await self._connection.execute(_REVERSED, {"payout_id": payout_id})).scalar_one())

    async def quarantine(self, reversal_id: ReversalId, reason: str, at: datetime) -> None:
        """Take a reversal out of work until a person has looked at it."""
        await self._connection.execute(_QUARANTINE, {"id": reversal_id, "reason": reason, "at": at})


def _debit(row: Row) -> PaidDebit:
    return PaidDebit(**{name: value for name, value in row._mapping.items() if name != "is_booked"})


def _reversal(row: Row) -> Reversal:
    return Reversal(**{**row._mapping, "status": ReversalStatus(row.status)})
