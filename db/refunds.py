"""Refunds in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text

from db.connection import Connection, Row
from domain.ids import RefundId
from domain.settlement.model import Refund, RefundStatus

_COLUMNS = """
    r.id, r.payment_id, r.stripe_charge_id, r.amount_minor, r.currency, r.status, r.reason, r.created_at,
    r.attempts, r.stripe_refund_id
"""
_ADD = text(
    """
    INSERT INTO refunds (id, payment_id, stripe_charge_id, amount_minor, currency, status, reason,
                         created_at, updated_at, due_at, publish_at)
    VALUES (:id, :payment_id, :stripe_charge_id, :amount_minor, :currency, 'pending', :reason,
            :created_at, :created_at, :created_at, :publish_at)
    """
)
_LEASE = text(
    f"""
    WITH free AS (
        SELECT id FROM refunds
        WHERE id = ANY(:ids) AND due_at <= :now AND (locked_until IS NULL OR locked_until <= :now)
        ORDER BY id FOR UPDATE SKIP LOCKED
    )
    UPDATE refunds r
    SET attempts = r.attempts + 1, locked_until = :locked_until, publish_at = :locked_until
    FROM free WHERE r.id = free.id
    RETURNING {_COLUMNS}
    """
)
_LOCK = text(f"SELECT {_COLUMNS} FROM refunds r WHERE r.id = :id FOR NO KEY UPDATE")
_SAVE = text(
    """
    UPDATE refunds
    SET status = :status, stripe_refund_id = :stripe_refund_id, updated_at = :at,
        due_at = :due_at, publish_at = :due_at, locked_until = NULL
    WHERE id = :id
    """
)


class Refunds:
    """`domain.settlement.ports.RefundWorkRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def add(self, refunds: Sequence[Refund], *, publish_at: datetime) -> None:
        """Insert refunds, due at once."""
        names = ("id", "payment_id", "stripe_charge_id", "amount_minor", "currency", "reason", "created_at")
        if refunds:
            rows = [{name: getattr(refund, name) for name in names} for refund in refunds]
            await self._connection.execute(_ADD, [{"publish_at": publish_at, **row} for row in rows])

    async def lease(self, ids: Sequence[RefundId], now: datetime, locked_until: datetime) -> Sequence[Refund]:
        """Take those of the refunds that are due and that nobody holds; counts the attempt."""
        values = {"ids": list(ids), "now": now, "locked_until": locked_until}
        return [_refund(row) for row in await self._connection.execute(_LEASE, values)]

    async def lock(self, refund_id: RefundId) -> Refund | None:
        """Lock a refund until the transaction ends."""
        row = (await self._connection.execute(_LOCK, {"id": refund_id})).first()
        return _refund(row) if row else None

    async def save(self, refund: Refund, *, due_at: datetime | None, at: datetime) -> None:
        """Write a locked refund and when it is due again, and end its lease."""
        values = {
            "id": refund.id,
            "status": refund.status,
            "stripe_refund_id": refund.stripe_refund_id,
            "due_at": due_at,
            "at": at,
        }
        await self._connection.execute(_SAVE, values)


def _refund(row: Row) -> Refund:
    return Refund(**{**row._mapping, "status": RefundStatus(row.status)})
