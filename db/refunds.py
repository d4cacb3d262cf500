"""Refunds in PostgreSQL, as they are made and read."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from db.connection import Connection, Row
from db.paging import cut
from db.sql import Sql
from domain.identity.model import Principal
from domain.ids import PaymentId, RefundId, UserId
from domain.ledger.postings import Part
from domain.pages import Page, PageRequest
from domain.refunds.model import Refund, RefundOrigin, RefundStatus

# A refund comes with its lines in one row, so that one statement reads it whole.
COLUMNS = """
    r.id, r.payment_id, r.origin, r.stripe_charge_id, r.amount_minor, r.currency, r.status, r.reason,
    r.created_at, r.updated_at, r.requested_by, r.idempotency_key, r.request_hash, r.failure_code,
    r.stripe_refund_id, r.is_booked, r.transaction_id, r.failure_transaction_id, r.attempts, r.key_number,
    r.first_sent_at, r.key_burnt_at, r.request_id, r.traceparent,
    (SELECT json_agg(l ORDER BY l.line) FROM refund_lines l WHERE l.refund_id = r.id) AS lines
"""
_ADD = Sql(
    """
    WITH added AS (
        INSERT INTO refunds (id, payment_id, origin, stripe_charge_id, stripe_refund_id, amount_minor, currency,
                             status, reason, requested_by, idempotency_key, request_hash, request_id, traceparent,
                             created_at, updated_at, due_at, publish_at)
        VALUES (:id, :payment_id, :origin, :stripe_charge_id, :stripe_refund_id, :amount_minor, :currency,
                :status, :reason, :requested_by, :idempotency_key, :request_hash, :request_id, :traceparent,
                :created_at, :created_at, :created_at, :publish_at)
        ON CONFLICT (requested_by, idempotency_key) DO NOTHING
        RETURNING id
    ), lines AS (
        INSERT INTO refund_lines (refund_id, line, seller_id, amount_minor, commission_minor)
        SELECT added.id, n.*
        FROM added, unnest(CAST(:line AS smallint[]), CAST(:seller_id AS uuid[]), CAST(:line_minor AS bigint[]),
                           CAST(:commission_minor AS bigint[])) AS n
    )
    SELECT id FROM added
    """
)
_ADDED_COLUMNS = (
    "id",
    "payment_id",
    "origin",
    "stripe_charge_id",
    "stripe_refund_id",
    "amount_minor",
    "currency",
    "status",
    "reason",
    "requested_by",
    "idempotency_key",
    "request_hash",
    "request_id",
    "traceparent",
    "created_at",
)
_BY_KEY = Sql(
    f"""
    SELECT {COLUMNS} FROM refunds r
    WHERE r.requested_by = :requested_by AND r.idempotency_key = :idempotency_key
    """
)
_OF_PAYMENT = Sql(f"SELECT {COLUMNS} FROM refunds r WHERE r.payment_id = :payment_id ORDER BY r.id LIMIT 1000")
_SEEN = f"""
    SELECT {COLUMNS} FROM refunds r JOIN payments p ON p.id = r.payment_id
    WHERE (:sees_all OR p.payer_id = :user_id OR EXISTS (
        SELECT FROM refund_lines l WHERE l.refund_id = r.id AND l.seller_id = :user_id))
"""
_VISIBLE = Sql(f"{_SEEN} AND r.id = :id")
_VISIBLE_OF_PAYMENT = Sql(
    f"""
    {_SEEN} AND r.payment_id = :payment_id AND (CAST(:after AS uuid) IS NULL OR r.id > :after)
    ORDER BY r.id LIMIT :limit
    """
)


class Refunds:
    """`domain.refunds.ports.RefundRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def add(self, refunds: Sequence[Refund], *, publish_at: datetime) -> Collection[RefundId]:
        """Insert refunds, due at once, and return the ids of those that went in."""
        added = set()
        for refund in refunds:
            values = {
                **{name: getattr(refund, name) for name in _ADDED_COLUMNS},
                "publish_at": publish_at,
                "line": [part.line for part in refund.lines],
                "seller_id": [part.seller_id for part in refund.lines],
                "line_minor": [part.amount_minor for part in refund.lines],
                "commission_minor": [part.commission_minor for part in refund.lines],
            }
            added |= set((await self._connection.execute(_ADD, values)).scalars())
        return added

    async def by_key(self, requested_by: UserId, idempotency_key: str) -> Refund | None:
        """Return the refund that a caller asked for under a key."""
        values = {"requested_by": requested_by, "idempotency_key": idempotency_key}
        row = (await self._connection.execute(_BY_KEY, values)).first()
        return read_refund(row) if row else None

    async def of_payment(self, payment_id: PaymentId) -> Sequence[Refund]:
        """Return a payment's refunds, oldest first, at most 1,000."""
        rows = await self._connection.execute(_OF_PAYMENT, {"payment_id": payment_id})
        return [read_refund(row) for row in rows]

    async def visible(self, principal: Principal, refund_id: RefundId) -> Refund | None:
        """Return a refund if the caller paid, sells a line of it, or may see all."""
        values = {"id": refund_id, "user_id": principal.user_id, "sees_all": principal.sees_all}
        row = (await self._connection.execute(_VISIBLE, values)).first()
        return read_refund(row) if row else None

    async def visible_of_payment(
        self, principal: Principal, payment_id: PaymentId, request: PageRequest
    ) -> Page[Refund]:
        """Return a page of those of a payment's refunds that `visible` would, oldest first."""
        values = {
            "payment_id": payment_id,
            "user_id": principal.user_id,
            "sees_all": principal.sees_all,
            "after": request.after,
            "limit": request.limit + 1,
        }
        rows = await self._connection.execute(_VISIBLE_OF_PAYMENT, values)
        return cut([read_refund(row) for row in rows], request)


def read_refund(row: Row) -> Refund:
    """Make a refund from a row that holds COLUMNS."""
    lines = tuple(
        Part(line["line"], UserId(UUID(line["seller_id"])), line["amount_minor"], line["commission_minor"])
        for line in row.lines or ()
    )
    states = {"status": RefundStatus(row.status), "origin": RefundOrigin(row.origin), "lines": lines}
    return Refund(**{**row._mapping, **states})
