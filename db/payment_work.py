"""Payments in PostgreSQL, as rows that wait for work."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from db.connection import Connection
from db.payments import COLUMNS, read_payment
from db.sql import Sql
from domain.ids import OrderId, PaymentId, UserId
from domain.payments.model import Payment, PaymentStatus
from domain.settlement.model import PaymentChange, StuckPayment, StuckReason, WorkState

_MAX_EXAMINED = 100_000
"""The most waiting payments among which the stuck ones are looked for; it takes some tens of milliseconds."""

# A row that is locked or leased is skipped, not waited for: its holder does the work. The sweeper must announce it
# again if the lease ends without a result, so publish_at is set to locked_until.
_LEASE = Sql(
    f"""
    WITH free AS (
        SELECT id FROM payments
        WHERE id = ANY(:ids) AND due_at <= :now AND (locked_until IS NULL OR locked_until <= :now)
        ORDER BY id FOR UPDATE SKIP LOCKED
    )
    UPDATE payments p
    SET status = CASE p.status WHEN 'pending' THEN 'processing' ELSE p.status END,
        attempts = p.attempts + 1,
        first_charged_at = coalesce(p.first_charged_at, :now),
        locked_until = :locked_until,
        publish_at = :locked_until
    FROM free WHERE p.id = free.id
    RETURNING {COLUMNS}
    """
)
_BY_IDS = Sql(f"SELECT {COLUMNS} FROM payments p WHERE p.id = ANY(:ids) ORDER BY p.id")
_ORDERS_OF = Sql("SELECT id, order_id FROM payments WHERE id = ANY(:ids) ORDER BY id")
_PARTIES_OF = Sql(
    """
    SELECT p.id, array_agg(DISTINCT party.id) FILTER (WHERE party.id IS NOT NULL) AS parties
    FROM payments p LEFT JOIN order_lines l USING (order_id)
    CROSS JOIN LATERAL unnest(ARRAY[p.payer_id, p.seller_id, l.seller_id]) AS party (id)
    WHERE p.id = ANY(:ids)
    GROUP BY p.id ORDER BY p.id
    """
)
_LOCK = Sql(
    f"""
    SELECT {COLUMNS}, p.order_id IS NOT NULL AND EXISTS (
        SELECT FROM payments o
        WHERE o.order_id = p.order_id AND o.id <> p.id AND o.status NOT IN ('failed', 'canceled')
    ) AS order_has_other
    FROM payments p WHERE p.id = ANY(:ids) ORDER BY p.id FOR NO KEY UPDATE OF p
    """
)
_SAVE = Sql(
    """
    UPDATE payments p
    SET status = n.status, failure_code = n.failure_code, client_secret = n.client_secret,
        stripe_intent_id = n.stripe_intent_id, stripe_charge_id = n.stripe_charge_id,
        captured_minor = n.captured_minor, fee_minor = n.fee_minor,
        funds_available_at = n.funds_available_at, lookup_only = n.lookup_only,
        updated_at = n.updated_at, due_at = n.due_at, publish_at = n.due_at, locked_until = NULL,
        quarantined_at = NULL, quarantine_reason = NULL
    FROM unnest(CAST(:id AS uuid[]), CAST(:status AS text[]), CAST(:failure_code AS text[]),
                CAST(:client_secret AS text[]), CAST(:stripe_intent_id AS text[]),
                CAST(:stripe_charge_id AS text[]), CAST(:captured_minor AS bigint[]),
                CAST(:fee_minor AS bigint[]), CAST(:funds_available_at AS timestamptz[]),
                CAST(:lookup_only AS boolean[]),
                CAST(:updated_at AS timestamptz[]), CAST(:due_at AS timestamptz[]))
        AS n (id, status, failure_code, client_secret, stripe_intent_id, stripe_charge_id, captured_minor,
              fee_minor, funds_available_at, lookup_only, updated_at, due_at)
    WHERE p.id = n.id
    """
)
_SAVED_COLUMNS = (
    "id",
    "status",
    "failure_code",
    "client_secret",
    "stripe_intent_id",
    "stripe_charge_id",
    "captured_minor",
    "fee_minor",
    "funds_available_at",
    "lookup_only",
    "updated_at",
)
_DROP_CAPTURES = Sql("UPDATE payments SET capture_minor = NULL WHERE id = ANY(:ids)")
_QUARANTINE = Sql(
    """
    UPDATE payments
    SET quarantined_at = :at, quarantine_reason = :reason, due_at = NULL, publish_at = NULL, locked_until = NULL
    WHERE id = :id
    """
)

# Waiting payments are found by the sweeper's index, quarantined ones by an index of their own; neither index holds
# finished payments. A backlog makes the first one long, so only its earliest _MAX_EXAMINED entries are read. An
# unknown payment is shown even while a worker holds it: one that is looked up for ever is always held.
_STUCK = Sql(
    f"""
    SELECT id, status, attempts, due_at, quarantine_reason, reason, since
    FROM (
        SELECT w.*,
            CASE
                WHEN locked_until <= :now THEN 'lease_overdue'
                WHEN status = 'unknown' THEN 'unknown'
                WHEN locked_until IS NULL AND due_at < :overdue_before THEN 'overdue'
            END AS reason,
            CASE
                WHEN locked_until <= :now THEN locked_until
                WHEN status = 'unknown' THEN updated_at
                ELSE due_at
            END AS since
        FROM (
            SELECT id, status, attempts, due_at, quarantine_reason, locked_until, updated_at
            FROM payments WHERE publish_at IS NOT NULL ORDER BY publish_at LIMIT {_MAX_EXAMINED}
        ) AS w
        UNION ALL
        (SELECT id, status, attempts, due_at, quarantine_reason, locked_until, updated_at,
                'quarantined', quarantined_at
         FROM payments WHERE quarantined_at IS NOT NULL ORDER BY quarantined_at LIMIT :limit)
    ) AS candidates
    WHERE reason IS NOT NULL
    ORDER BY since, id LIMIT :limit
    """
)
_WORK_STATE = Sql("SELECT due_at, locked_until, quarantined_at FROM payments WHERE id = :id")
_RELEASE = Sql(
    """
    UPDATE payments
    SET due_at = :at, publish_at = :at, locked_until = NULL, quarantined_at = NULL, quarantine_reason = NULL
    WHERE id = :id
    """
)


class PaymentWork:
    """`domain.settlement.ports.PaymentWorkRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def lease(self, ids: Sequence[PaymentId], now: datetime, locked_until: datetime) -> Sequence[Payment]:
        """Lease those of the payments that are due and that nobody holds, skipping locked rows."""
        values = {"ids": list(ids), "now": now, "locked_until": locked_until}
        rows = await self._connection.execute(_LEASE, values)
        return [read_payment(row) for row in rows]

    async def by_ids(self, ids: Sequence[PaymentId]) -> Mapping[PaymentId, Payment]:
        """Return the payments that exist, by id, unlocked."""
        rows = await self._connection.execute(_BY_IDS, {"ids": list(ids)})
        return {row.id: read_payment(row) for row in rows}

    async def orders_of(self, ids: Collection[PaymentId]) -> Mapping[PaymentId, OrderId | None]:
        """Return the order of each payment that exists."""
        rows = await self._connection.execute(_ORDERS_OF, {"ids": list(ids)})
        return {row.id: row.order_id for row in rows}

    async def parties_of(self, ids: Collection[PaymentId]) -> Mapping[PaymentId, Collection[UserId]]:
        """Return whom each payment that exists concerns: its payer and its sellers."""
        rows = await self._connection.execute(_PARTIES_OF, {"ids": list(ids)})
        return {row.id: row.parties for row in rows}

    async def lock(self, ids: Sequence[PaymentId]) -> Sequence[tuple[Payment, bool]]:
        """Lock payments until the transaction ends, in sorted order; tell if the order has another live one."""
        rows = await self._connection.execute(_LOCK, {"ids": list(ids)})
        return [(read_payment(row), row.order_has_other) for row in rows]

    async def save(self, changes: Sequence[PaymentChange]) -> None:
        """Write what changed of locked payments and when they are due again; end their leases and quarantine."""
        columns: dict[str, list[object]] = {
            name: [getattr(change.payment, name) for change in changes] for name in _SAVED_COLUMNS
        }
        columns["due_at"] = [change.due_at for change in changes]
        await self._connection.execute(_SAVE, columns)

    async def drop_captures(self, ids: Sequence[PaymentId]) -> None:
        """Forget the captures that were asked for of locked payments."""
        await self._connection.execute(_DROP_CAPTURES, {"ids": list(ids)})

    async def quarantine(self, payment_id: PaymentId, reason: str, at: datetime) -> None:
        """Take a payment out of work until a person has looked at it."""
        await self._connection.execute(_QUARANTINE, {"id": payment_id, "reason": reason, "at": at})

    async def stuck(self, now: datetime, overdue_before: datetime, *, limit: int) -> Sequence[StuckPayment]:
        """Return payments that make no progress, the longest first."""
        values = {"now": now, "overdue_before": overdue_before, "limit": limit}
        return [
            StuckPayment(
                id=row.id,
                status=PaymentStatus(row.status),
                reason=StuckReason(row.reason),
                since=row.since,
                attempts=row.attempts,
                due_at=row.due_at,
                detail=row.quarantine_reason,
            )
            for row in await self._connection.execute(_STUCK, values)
        ]

    async def work_state(self, payment_id: PaymentId) -> WorkState:
        """Return when a payment that exists is due, and who keeps it: a lease or the quarantine."""
        row = (await self._connection.execute(_WORK_STATE, {"id": payment_id})).one()
        return WorkState(row.due_at, row.locked_until, row.quarantined_at)

    async def release(self, payment_id: PaymentId, at: datetime) -> None:
        """Make a locked payment due at that time, without quarantine and without lease."""
        await self._connection.execute(_RELEASE, {"id": payment_id, "at": at})
