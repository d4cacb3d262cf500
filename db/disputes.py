"""Disputes in PostgreSQL."""

from collections.abc import Sequence

from db.connection import Connection, Row
from db.paging import cut
from db.sql import Sql
from domain.disputes.model import OPEN, Dispute, DisputeFunds, DisputeStatus
from domain.identity.model import Principal
from domain.ids import DisputeId, PaymentId
from domain.pages import Page, PageRequest

_NAMES = (
    "id",
    "payment_id",
    "stripe_dispute_id",
    "stripe_charge_id",
    "amount_minor",
    "currency",
    "reason",
    "status",
    "evidence_due_at",
    "opened_at",
    "created_at",
    "updated_at",
    "funds",
    "withdrawn_minor",
    "withdrawal_id",
    "transaction_ids",
)
_COLUMNS = ", ".join(f"d.{name}" for name in _NAMES)
_BY_STRIPE_ID = Sql(
    f"SELECT {_COLUMNS} FROM disputes d WHERE d.stripe_dispute_id = :stripe_dispute_id FOR NO KEY UPDATE OF d"
)
_SAVE = Sql(
    f"""
    INSERT INTO disputes AS d ({", ".join(_NAMES)}) VALUES ({", ".join(f":{name}" for name in _NAMES)})
    ON CONFLICT (id) DO UPDATE
    SET status = excluded.status, evidence_due_at = excluded.evidence_due_at, updated_at = excluded.updated_at,
        funds = excluded.funds, withdrawn_minor = excluded.withdrawn_minor,
        withdrawal_id = excluded.withdrawal_id, transaction_ids = excluded.transaction_ids
    """
)
_OF_PAYMENT = Sql(f"SELECT {_COLUMNS} FROM disputes d WHERE d.payment_id = :payment_id ORDER BY d.id LIMIT 100")
_HOLDS_MONEY_OF = Sql(
    """
    SELECT EXISTS (
        SELECT FROM disputes
        WHERE payment_id = :payment_id AND (funds IN ('withdrawn', 'lost') OR status = ANY(:open)))
    """
)
_CONCERNS = """
    EXISTS (
        SELECT FROM payments p WHERE p.id = d.payment_id AND (p.seller_id = :user_id OR EXISTS (
            SELECT FROM order_lines l WHERE l.order_id = p.order_id AND l.seller_id = :user_id)))
"""
_VISIBLE = Sql(f"SELECT {_COLUMNS} FROM disputes d WHERE d.id = :id AND (:sees_all OR {_CONCERNS})")
_PAGE_HEAD = """(CAST(:after AS uuid) IS NULL OR d.id < :after)
    AND (CAST(:status AS text) IS NULL OR d.status = :status)"""
_PAGE_OF_ALL = Sql(f"SELECT {_COLUMNS} FROM disputes d WHERE {_PAGE_HEAD} ORDER BY d.id DESC LIMIT :limit")
# Planned for each seller: those of one who sells little are found along its payments and lines. Most have none.
_PAGE = Sql(
    f"""
    SELECT {_COLUMNS} FROM disputes d
    WHERE d.id IN (
        (SELECT d.id FROM payments p JOIN disputes d ON d.payment_id = p.id
         WHERE p.seller_id = :user_id AND {_PAGE_HEAD} ORDER BY d.id DESC LIMIT :limit)
        UNION
        (SELECT DISTINCT d.id FROM order_lines l JOIN payments p USING (order_id)
            JOIN disputes d ON d.payment_id = p.id
         WHERE l.seller_id = :user_id AND {_PAGE_HEAD} ORDER BY d.id DESC LIMIT :limit))
    ORDER BY d.id DESC LIMIT :limit
    """,
    planned_anew=True,
)


class Disputes:
    """`domain.disputes.ports.DisputeRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def by_stripe_id(self, stripe_dispute_id: str) -> Dispute | None:
        """Lock the dispute with Stripe's id until the transaction ends, and return it. Lock its payment first."""
        values = {"stripe_dispute_id": stripe_dispute_id}
        row = (await self._connection.execute(_BY_STRIPE_ID, values)).first()
        return _dispute(row) if row else None

    async def save(self, dispute: Dispute) -> None:
        """Write a dispute, new or locked."""
        values = {name: getattr(dispute, name) for name in _NAMES}
        await self._connection.execute(_SAVE, {**values, "transaction_ids": list(dispute.transaction_ids)})

    async def of_payment(self, payment_id: PaymentId) -> Sequence[Dispute]:
        """Return a locked payment's disputes, in the order in which we heard of them, at most 100."""
        rows = await self._connection.execute(_OF_PAYMENT, {"payment_id": payment_id})
        return [_dispute(row) for row in rows]

    async def holds_money_of(self, payment_id: PaymentId) -> bool:
        """Return whether a dispute has taken money of a locked payment, or takes it, and has not given it back."""
        rows = await self._connection.execute(_HOLDS_MONEY_OF, {"payment_id": payment_id, "open": sorted(OPEN)})
        return bool(rows.scalar_one())

    async def visible(self, principal: Principal, dispute_id: DisputeId) -> Dispute | None:
        """Return a dispute if the caller sells a part of its payment, or may see all."""
        values = {"id": dispute_id, "user_id": principal.user_id, "sees_all": principal.sees_all}
        row = (await self._connection.execute(_VISIBLE, values)).first()
        return _dispute(row) if row else None

    async def page(
        self, principal: Principal, request: PageRequest, status: DisputeStatus | None
    ) -> Page[Dispute]:
        """Return a page of the disputes that the caller may see, of one state if given, newest first."""
        values = {
            "user_id": principal.user_id,
            "after": request.after,
            "limit": request.limit + 1,
            "status": status,
        }
        rows = await self._connection.execute(_PAGE_OF_ALL if principal.sees_all else _PAGE, values)
        return cut([_dispute(row) for row in rows], request)


def _dispute(row: Row) -> Dispute:
    states = {
        "status": DisputeStatus(row.status),
        "funds": DisputeFunds(row.funds),
        "transaction_ids": tuple(row.transaction_ids),
    }
    return Dispute(**{**row._mapping, **states})
