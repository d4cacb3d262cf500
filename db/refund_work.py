"""Refunds in PostgreSQL, as rows that wait for work."""

from collections.abc import Sequence
from datetime import datetime

from db.connection import Connection
from db.refunds import COLUMNS, read_refund
from db.sql import Sql
from domain.disputes.model import OPEN
from domain.ids import PaymentId, RefundId
from domain.refunds.model import Refund
from domain.settlement.model import Returned

_LEASE = Sql(
    f"""
    WITH free AS (
        SELECT id FROM refunds
        WHERE id = ANY(:ids) AND due_at <= :now AND (locked_until IS NULL OR locked_until <= :now)
        ORDER BY id FOR UPDATE SKIP LOCKED
    )
    UPDATE refunds r
    SET attempts = r.attempts + 1, first_sent_at = coalesce(r.first_sent_at, :now),
        locked_until = :locked_until, publish_at = :locked_until
    FROM free WHERE r.id = free.id
    RETURNING {COLUMNS}
    """
)
_FIND = Sql(
    f"""
    SELECT {COLUMNS} FROM refunds r
    WHERE r.stripe_refund_id = :stripe_refund_id OR r.id = :id
    ORDER BY r.stripe_refund_id IS NOT DISTINCT FROM :stripe_refund_id DESC LIMIT 1
    """
)
_LOCK = Sql(f"SELECT {COLUMNS} FROM refunds r WHERE r.id = :id FOR NO KEY UPDATE OF r")
_SAVE = Sql(
    """
    UPDATE refunds
    SET status = :status, failure_code = :failure_code, stripe_refund_id = :stripe_refund_id,
        is_booked = :is_booked, transaction_id = :transaction_id,
        failure_transaction_id = :failure_transaction_id, key_number = :key_number, first_sent_at = :first_sent_at,
        key_burnt_at = :key_burnt_at, updated_at = :updated_at,
        due_at = :due_at, publish_at = :due_at, locked_until = NULL,
        quarantined_at = NULL, quarantine_reason = NULL
    WHERE id = :id
    """
)
_SAVED_COLUMNS = (
    "id",
    "status",
    "failure_code",
    "stripe_refund_id",
    "is_booked",
    "transaction_id",
    "failure_transaction_id",
    "key_number",
    "first_sent_at",
    "key_burnt_at",
    "updated_at",
)
_QUARANTINE = Sql(
    """
    UPDATE refunds
    SET quarantined_at = :at, quarantine_reason = :reason, due_at = NULL, publish_at = NULL, locked_until = NULL
    WHERE id = :id
    """
)
_RETURNED = Sql(
    """
    SELECT r.refunded_minor, d.lost_minor, d.is_disputed
    FROM (
        SELECT coalesce(sum(amount_minor) FILTER (WHERE status = 'succeeded'), 0)::bigint AS refunded_minor
        FROM refunds WHERE payment_id = :payment_id
    ) AS r, (
        SELECT coalesce(sum(withdrawn_minor) FILTER (WHERE funds = 'lost'), 0)::bigint AS lost_minor,
               coalesce(bool_or(status = ANY(:open)), false) AS is_disputed
        FROM disputes WHERE payment_id = :payment_id
    ) AS d
    """
)


class RefundWork:
    """`domain.settlement.ports.RefundWorkRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def lease(self, ids: Sequence[RefundId], now: datetime, locked_until: datetime) -> Sequence[Refund]:
        """Take those of the refunds that are due and that nobody holds, skipping locked rows."""
        values = {"ids": list(ids), "now": now, "locked_until": locked_until}
        return [read_refund(row) for row in await self._connection.execute(_LEASE, values)]

    async def find(self, refund_id: RefundId | None, stripe_refund_id: str | None) -> Refund | None:
        """Return the refund with Stripe's id, or else the one with ours, unlocked."""
        values = {"id": refund_id, "stripe_refund_id": stripe_refund_id}
        row = (await self._connection.execute(_FIND, values)).first()
        return read_refund(row) if row else None

    async def lock(self, refund_id: RefundId) -> Refund:
        """Lock a refund that exists until the transaction ends. Lock its payment first."""
        return read_refund((await self._connection.execute(_LOCK, {"id": refund_id})).one())

    async def save(self, refund: Refund, *, due_at: datetime | None) -> None:
        """Write a locked refund and when it is due again, and end its lease and its quarantine."""
        values = {name: getattr(refund, name) for name in _SAVED_COLUMNS}
        await self._connection.execute(_SAVE, {**values, "due_at": due_at})

    async def quarantine(self, refund_id: RefundId, reason: str, at: datetime) -> None:
        """Take a refund out of work until a person has looked at it."""
        await self._connection.execute(_QUARANTINE, {"id": refund_id, "reason": reason, "at": at})

    async def returned(self, payment_id: PaymentId) -> Returned:
        """Return what of a payment's captured money went back to the payer."""
        values = {"payment_id": payment_id, "open": sorted(OPEN)}
        row = (await self._connection.execute(_RETURNED, values)).one()
        return Returned(**row._mapping)
