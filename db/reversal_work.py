"""Reversals of transfers in PostgreSQL: made for what went back of a payment that was paid out, and worked at."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from db.connection import Connection, Row
from db.payouts import PAYOUTS_LOCK, SHARES
from db.sql import Sql
from domain.ids import PayoutId, ReversalId
from domain.ledger.model import EntryRef
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
# Entries of the ledger that are asked for, with their journals.
_LOST = """
    unnest(CAST(:journal_ids AS uuid[]), CAST(:lines AS smallint[])) AS lost (journal_id, line)
    JOIN entries d USING (journal_id, line)
    JOIN journals j ON j.id = d.journal_id
"""
# PERF: a fee stays with its seller. Half of what a large payout lets go may be fees, and they have no payers.
_IS_LOSS = """
    d.account LIKE 'seller\\_payable:%' AND d.amount_minor > 0
    AND j.kind IN ('refund', 'dispute_opened', 'conversion_settled')
"""
# The shares of a payment that payouts took of one who loses by it, in the currency that Stripe settled in, where
# it exchanged them.
_TAKEN_SHARES = f"""
    SELECT c.id AS share_id, p.*
    FROM journals c
    JOIN entries e ON e.journal_id = c.id
    JOIN payout_entries x ON x.journal_id = e.journal_id AND x.line = e.line
    JOIN payouts p ON p.id = x.payout_id
    WHERE c.payment_id = j.payment_id AND c.kind IN {SHARES}
        AND e.account = d.account AND e.currency = d.currency AND e.amount_minor < 0
"""
# Without it, a payout could be drafted, sent and booked between this look and the commit of the loss, and neither
# of the two would see the other.
_KEEP_FROM_DRAFTING = Sql(
    f"""
    SELECT pg_advisory_xact_lock_shared(:key, hashtext(seller_id))
    FROM (
        SELECT DISTINCT split_part(d.account, ':', 2) AS seller_id FROM {_LOST} WHERE {_IS_LOSS} ORDER BY 1
    ) AS losers
    """
)
# Locked though they are not booked yet: whoever books one meanwhile is waited for, or sees this loss.
_LOCK_PAYERS = Sql(
    f"""
    SELECT id FROM payouts
    WHERE id IN (SELECT t.id FROM {_LOST} CROSS JOIN LATERAL ({_TAKEN_SHARES}) AS t WHERE {_IS_LOSS})
    ORDER BY id FOR NO KEY UPDATE
    """
)
# What a seller loses by a refund or a withdrawal that stands, beside the payout from which it can be taken back:
# the last one that took a share of that payment and has something left. Of a dispute that took money again, what
# it took before had been given back.
_DEBITS = Sql(
    f"""
    SELECT d.journal_id, d.line, d.amount_minor, j.payment_id, t.id AS payout_id, t.currency,
           t.amount_minor - t.reversed_minor AS left_minor
    FROM {_LOST}
    CROSS JOIN LATERAL (
        SELECT * FROM ({_TAKEN_SHARES}) AS s
        WHERE s.reversed_minor < s.amount_minor ORDER BY s.share_id DESC LIMIT 1
    ) AS t
    WHERE {_IS_LOSS} AND t.stripe_transfer_id IS NOT NULL
        AND (j.kind = 'conversion_settled' OR NOT EXISTS (
            SELECT FROM journals v
            WHERE v.payment_id = j.payment_id AND v.kind = 'conversion_charged'))
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
    ORDER BY t.id, d.journal_id, d.line
    """
)
_LOSSES_OF = Sql(
    f"""
    SELECT DISTINCT d.journal_id, d.line
    FROM payouts p
    JOIN payout_entries x ON x.payout_id = p.id
    JOIN journals c ON c.id = x.journal_id AND c.kind IN {SHARES}
    JOIN journals j ON j.payment_id = c.payment_id
        AND j.kind IN ('refund', 'dispute_opened', 'conversion_settled')
    JOIN entries d ON d.journal_id = j.id AND d.account = 'seller_payable:' || p.seller_id AND d.amount_minor > 0
    WHERE p.id = :payout_id
        AND NOT EXISTS (SELECT FROM payout_entries y WHERE y.journal_id = d.journal_id AND y.line = d.line)
        AND NOT EXISTS (SELECT FROM payout_reversals r WHERE r.journal_id = d.journal_id AND r.line = d.line)
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
    """`domain.settlement.payout_ports.ReversalWorkRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def lock_payers(self, losses: Collection[EntryRef]) -> None:
        """Lock all payouts of which losses may be taken back, and keep those sellers from being paid out."""
        values = _lost(losses)
        await self._connection.execute(_KEEP_FROM_DRAFTING, {**values, "key": PAYOUTS_LOCK})
        await self._connection.execute(_LOCK_PAYERS, values)

    async def debits_of(self, losses: Collection[EntryRef]) -> Sequence[PaidDebit]:
        """Return what of losses can be taken back of booked payouts, each of the last that has something left."""
        rows = await self._connection.execute(_DEBITS, _lost(losses))
        return [PaidDebit(**row._mapping) for row in rows]

    async def losses_of(self, payout_id: PayoutId) -> Collection[EntryRef]:
        """Return what the seller lost of payments whose shares a payout takes, and nobody took back yet."""
        rows = await self._connection.execute(_LOSSES_OF, {"payout_id": payout_id})
        return [EntryRef(*row) for row in rows]

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


def _lost(losses: Collection[EntryRef]) -> dict[str, Any]:
    return {"journal_ids": [loss.journal_id for loss in losses], "lines": [loss.line for loss in losses]}


def _reversal(row: Row) -> Reversal:
    return Reversal(**{**row._mapping, "status": ReversalStatus(row.status)})
