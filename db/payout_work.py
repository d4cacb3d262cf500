"""Payouts in PostgreSQL, as rows that wait for work."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from db.connection import Connection
from db.payouts import COLUMNS, SHARES, read_payout
from db.sql import Sql
from domain.ids import JournalId, PayoutId
from domain.ledger.model import EntryRef
from domain.payouts.model import Payout

_LEASE = Sql(
    f"""
    WITH free AS (
        SELECT id FROM payouts
        WHERE id = ANY(:ids) AND due_at <= :now AND (locked_until IS NULL OR locked_until <= :now)
        ORDER BY id FOR UPDATE SKIP LOCKED
    )
    UPDATE payouts t
    SET status = CASE t.status WHEN 'pending' THEN 'processing' ELSE t.status END,
        attempts = t.attempts + 1, first_sent_at = coalesce(t.first_sent_at, :now),
        locked_until = :locked_until, publish_at = :locked_until
    FROM free WHERE t.id = free.id
    RETURNING {COLUMNS}
    """
)
_BY_IDS = Sql(f"SELECT {COLUMNS} FROM payouts t WHERE t.id = ANY(:ids) ORDER BY t.id")
_FIND = Sql(f"SELECT {COLUMNS} FROM payouts t WHERE t.stripe_transfer_id = ANY(:transfer_ids) ORDER BY t.id")
_OF_BANK = Sql(f"SELECT {COLUMNS} FROM payouts t WHERE t.stripe_payout_id = ANY(:stripe_payout_ids) ORDER BY t.id")
_LOCK = Sql(f"SELECT {COLUMNS} FROM payouts t WHERE t.id = ANY(:ids) ORDER BY t.id FOR NO KEY UPDATE OF t")
_SAVE = Sql(
    """
    UPDATE payouts
    SET status = :status, failure_code = :failure_code, stripe_transfer_id = :stripe_transfer_id,
        stripe_payout_id = :stripe_payout_id, first_sent_at = :first_sent_at, key_burnt_at = :key_burnt_at,
        updated_at = :updated_at, due_at = :due_at, publish_at = :due_at, locked_until = NULL,
        quarantined_at = NULL, quarantine_reason = NULL
    WHERE id = :id
    """
)
_SAVED_COLUMNS = (
    "id",
    "status",
    "failure_code",
    "stripe_transfer_id",
    "stripe_payout_id",
    "first_sent_at",
    "key_burnt_at",
    "updated_at",
)
_CLOSE = Sql("INSERT INTO payout_entries (journal_id, line, payout_id) VALUES (:journal_id, 1, :payout_id)")
# Most payments have one journal, which is the share that the payout takes.
_OF_SAME_PAYMENTS = Sql(
    f"""
    SELECT DISTINCT t.id
    FROM payouts p
    JOIN payout_entries x ON x.payout_id = p.id
    JOIN journals j ON j.id = x.journal_id
    JOIN journals c ON c.payment_id = j.payment_id AND c.id <> j.id AND c.kind IN {SHARES}
    JOIN payout_entries y ON y.journal_id = c.id
    JOIN payouts t ON t.id = y.payout_id AND t.seller_id = p.seller_id
    WHERE p.id = :payout_id AND t.id <> p.id
    ORDER BY t.id
    """
)
_LET_GO = Sql(
    """
    WITH gone AS (DELETE FROM payout_entries WHERE payout_id = :payout_id RETURNING journal_id, line)
    SELECT e.journal_id, e.line FROM gone JOIN entries e USING (journal_id, line) WHERE e.amount_minor > 0
    """
)
_QUARANTINE = Sql(
    """
    UPDATE payouts
    SET quarantined_at = :at, quarantine_reason = :reason, due_at = NULL, publish_at = NULL, locked_until = NULL
    WHERE id = :id
    """
)


class PayoutWork:
    """`domain.settlement.payout_ports.PayoutWorkRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def lease(self, ids: Sequence[PayoutId], now: datetime, locked_until: datetime) -> Sequence[Payout]:
        """Take those of the payouts that are due and that nobody holds, skipping locked rows."""
        values = {"ids": list(ids), "now": now, "locked_until": locked_until}
        return [read_payout(row) for row in await self._connection.execute(_LEASE, values)]

    async def by_ids(self, ids: Collection[PayoutId]) -> Mapping[PayoutId, Payout]:
        """Return the payouts that exist, by id, unlocked."""
        return {row.id: read_payout(row) for row in await self._connection.execute(_BY_IDS, {"ids": list(ids)})}

    async def of_transfers(self, transfer_ids: Collection[str]) -> Sequence[Payout]:
        """Return the payouts of transfers at Stripe, by id, unlocked."""
        rows = await self._connection.execute(_FIND, {"transfer_ids": list(transfer_ids)})
        return [read_payout(row) for row in rows]

    async def of_bank_payouts(self, stripe_payout_ids: Collection[str]) -> Sequence[Payout]:
        """Return the payouts that payouts to a bank took along, by id, unlocked."""
        rows = await self._connection.execute(_OF_BANK, {"stripe_payout_ids": list(stripe_payout_ids)})
        return [read_payout(row) for row in rows]

    async def lock(self, ids: Sequence[PayoutId]) -> Sequence[Payout]:
        """Lock those of the payouts that exist until the transaction ends, in sorted order."""
        return [read_payout(row) for row in await self._connection.execute(_LOCK, {"ids": list(ids)})]

    async def save(self, payout: Payout, *, due_at: datetime | None) -> None:
        """Write a locked payout and when it is due again, and end its lease and its quarantine."""
        values = {name: getattr(payout, name) for name in _SAVED_COLUMNS}
        await self._connection.execute(_SAVE, {**values, "due_at": due_at})

    async def close(self, payout_id: PayoutId, journal_id: JournalId) -> None:
        """Count the first entry of its journal among those of a saved payout that is booked."""
        await self._connection.execute(_CLOSE, {"payout_id": payout_id, "journal_id": journal_id})

    async def of_same_payments(self, payout_id: PayoutId) -> Sequence[PayoutId]:
        """Return the seller's other payouts that took shares of the payments of a payout, unlocked."""
        return list((await self._connection.execute(_OF_SAME_PAYMENTS, {"payout_id": payout_id})).scalars())

    async def let_go(self, payout_id: PayoutId) -> Collection[EntryRef]:
        """Let go what a saved payout takes whose transfer was never made; return by what its seller loses."""
        return [EntryRef(*row) for row in await self._connection.execute(_LET_GO, {"payout_id": payout_id})]

    async def quarantine(self, payout_id: PayoutId, reason: str, at: datetime) -> None:
        """Take a payout out of work until a person has looked at it."""
        await self._connection.execute(_QUARANTINE, {"id": payout_id, "reason": reason, "at": at})
