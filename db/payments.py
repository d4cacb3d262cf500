"""Payments in PostgreSQL, as clients make and read them. `db.payment_work` has what workers do with them."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from db.arrays import write_array
from db.connection import Connection, Row
from db.events import PROMISE
from db.paging import cut
from db.sql import Sql
from domain.events import Event
from domain.identity.model import Principal, Role
from domain.ids import OrderId, PaymentId, UserId, WebhookEndpointId
from domain.pages import Page, PageRequest
from domain.payments.model import Capture, Glance, Payment, PaymentStatus, Sight

# PERF: an enumeration's own look-up costs five times what a dictionary's does, twice a row.
_CAPTURES = {str(each): each for each in Capture}
_STATUSES = {str(each): each for each in PaymentStatus}

COLUMNS = """
    p.id, p.payer_id, p.order_id, p.seller_id, p.amount_minor, p.currency, p.commission_bps, p.payment_method,
    p.capture, p.status, p.idempotency_key, p.request_hash, p.created_at, p.updated_at, p.failure_code,
    p.client_secret, p.stripe_intent_id, p.stripe_charge_id, p.captured_minor, p.refunded_minor,
    p.fee_minor, p.funds_available_at, p.attempts, p.first_charged_at, p.lookup_only, p.capture_minor,
    p.cancel_requested, p.traceparent, p.request_id
"""

# One statement inserts the batch, its events and the webhooks promised for them: without orders it is the whole
# transaction. Rows are sorted by their key, so that two batches with the same keys wait for each other in one
# order and never deadlock; orders are locked before, for the same reason. A seller's own commission replaces the
# default, and a payment to somebody who is no seller is left out.
_ADD = Sql(
    f"""
    WITH n AS (
        SELECT * FROM unnest(
            CAST(:id AS uuid[]), CAST(:payer_id AS uuid[]), CAST(:order_id AS uuid[]), CAST(:seller_id AS uuid[]),
            CAST(:amount_minor AS bigint[]), CAST(:currency AS text[]), CAST(:commission_bps AS integer[]),
            CAST(:payment_method AS text[]), CAST(:capture AS text[]), CAST(:idempotency_key AS text[]),
            CAST(:request_hash AS bytea[]), CAST(:traceparent AS text[]), CAST(:request_id AS text[]),
            CAST(:created_at AS timestamptz[]), CAST(:event_id AS uuid[]), CAST(:event_type AS text[]),
            CAST(:event_data AS jsonb[]), CAST(:audience AS text[]))
        AS n (id, payer_id, order_id, seller_id, amount_minor, currency, commission_bps, payment_method, capture,
              idempotency_key, request_hash, traceparent, request_id, created_at, event_id, event_type, event_data,
              audience)
    ), added AS (
        INSERT INTO payments (id, payer_id, order_id, seller_id, amount_minor, currency, commission_bps,
                              payment_method, capture, status, idempotency_key, request_hash, traceparent,
                              request_id, created_at, updated_at, due_at, publish_at)
        SELECT n.id, n.payer_id, n.order_id, n.seller_id, n.amount_minor, n.currency,
               coalesce(s.commission_bps, n.commission_bps), n.payment_method, n.capture, 'pending',
               n.idempotency_key, n.request_hash, n.traceparent, n.request_id, n.created_at, n.created_at,
               n.created_at, :publish_at
        FROM n LEFT JOIN sellers s ON s.user_id = n.seller_id
        WHERE n.seller_id IS NULL OR s.user_id IS NOT NULL
        ORDER BY n.payer_id, n.idempotency_key, n.id
        ON CONFLICT DO NOTHING
        RETURNING id, commission_bps
    ), a AS (
        INSERT INTO events (id, type, subject_id, data, created_at, audience)
        SELECT n.event_id, n.event_type, n.id, n.event_data, n.created_at, CAST(n.audience AS uuid[])
        FROM added JOIN n USING (id)
        WHERE n.event_id IS NOT NULL
        ORDER BY n.event_id
        RETURNING id, type, position, created_at, audience
    ), promised AS ({PROMISE})
    SELECT id, commission_bps, (SELECT array_agg(DISTINCT endpoint_id) FROM promised) AS wanted_by FROM added
    """
)
_ADDED_COLUMNS = (
    "id",
    "payer_id",
    "order_id",
    "seller_id",
    "amount_minor",
    "currency",
    "commission_bps",
    "payment_method",
    "capture",
    "idempotency_key",
    "request_hash",
    "traceparent",
    "request_id",
    "created_at",
)
_BY_KEYS = Sql(
    f"""
    SELECT {COLUMNS} FROM payments p
    JOIN unnest(CAST(:payer_ids AS uuid[]), CAST(:keys AS text[])) AS k (payer_id, idempotency_key)
        USING (payer_id, idempotency_key)
    ORDER BY p.id
    """
)
_OF_ORDER = Sql(f"SELECT {COLUMNS} FROM payments p WHERE p.order_id = :order_id AND p.status = 'succeeded'")
# PERF: a client that polls for an unchanged payment costs a row of two columns. The lateral subquery has no FROM:
# it takes the other columns from the row `p` that is read already. A version is the transaction that wrote the row
# (xmin), and its time, because transaction numbers may come again after a restore.
_LOOK = Sql(
    f"""
    SELECT a.n, p.xmin::text AS seen_xmin, p.updated_at AS seen_at, news.*
    FROM unnest(CAST(:ids AS uuid[]), CAST(:user_ids AS uuid[]), CAST(:sees_all AS boolean[]),
                CAST(:known_xmins AS text[]), CAST(:known_at AS timestamptz[]))
        WITH ORDINALITY AS a (payment_id, user_id, sees_all, known_xmin, known_at, n)
    JOIN payments p ON p.id = a.payment_id
    LEFT JOIN LATERAL (
        SELECT {COLUMNS} WHERE p.xmin::text IS DISTINCT FROM a.known_xmin OR p.updated_at <> a.known_at
    ) AS news ON true
    WHERE a.sees_all OR a.user_id IN (p.payer_id, p.seller_id) OR EXISTS (
        SELECT FROM order_lines l WHERE l.order_id = p.order_id AND l.seller_id = a.user_id)
    ORDER BY a.n
    """
)
# The attempts so far looked at the authorization, so the retries of the capture start anew. One attempt stays,
# because a payment that was tried before is admitted before new ones.
_ASK_FOR_CAPTURE = Sql(
    """
    UPDATE payments
    SET capture_minor = :capture_minor, attempts = least(attempts, 1),
        request_id = coalesce(:request_id, request_id), due_at = :due_at, publish_at = :publish_at
    WHERE id = :id
    """
)
_ASK_FOR_CANCELLATION = Sql(
    """
    UPDATE payments
    SET cancel_requested = true, request_id = coalesce(:request_id, request_id),
        due_at = :due_at, publish_at = :publish_at
    WHERE id = :id
    """
)
_LOCK = Sql(f"SELECT {COLUMNS} FROM payments p WHERE p.id = :id FOR NO KEY UPDATE")
_PAGE_HEAD = "(CAST(:after AS uuid) IS NULL OR p.id < :after)"
_PAGE_OF_ORDER = Sql(
    f"""
    SELECT {COLUMNS} FROM payments p
    WHERE p.order_id = :order_id AND {_PAGE_HEAD} AND (:sees_all OR p.payer_id = :user_id OR EXISTS (
        SELECT FROM order_lines l WHERE l.order_id = p.order_id AND l.seller_id = :user_id))
    ORDER BY p.id DESC LIMIT :limit
    """
)
_PAGES = {
    Role.BUYER: Sql(
        f"""
        SELECT {COLUMNS} FROM payments p
        WHERE p.payer_id = :user_id AND {_PAGE_HEAD} ORDER BY p.id DESC LIMIT :limit
        """
    ),
    # A seller's payments are the direct ones to it and those of orders with a line of it. The best plan depends on
    # how much it sells (along the payments, or along the lines), so each seller's query is planned anew.
    Role.SELLER: Sql(
        f"""
        SELECT {COLUMNS} FROM payments p
        WHERE p.id IN (
            (SELECT p.id FROM payments p
             WHERE p.seller_id = :user_id AND {_PAGE_HEAD} ORDER BY p.id DESC LIMIT :limit)
            UNION
            (SELECT DISTINCT p.id FROM order_lines l JOIN payments p USING (order_id)
             WHERE l.seller_id = :user_id AND {_PAGE_HEAD} ORDER BY p.id DESC LIMIT :limit))
        ORDER BY p.id DESC LIMIT :limit
        """,
        planned_anew=True,
    ),
}
_PAGE_OF_ALL = Sql(f"SELECT {COLUMNS} FROM payments p WHERE {_PAGE_HEAD} ORDER BY p.id DESC LIMIT :limit")


class Payments:
    """`domain.payments.ports.PaymentRepository`."""

    def __init__(self, connection: Connection, wanted_by: set[WebhookEndpointId]) -> None:
        """Work in that connection's transaction; add to `wanted_by` the endpoints with new deliveries."""
        self._connection = connection
        self._wanted_by = wanted_by

    async def add(
        self, payments: Sequence[Payment], *, publish_at: datetime, events: Sequence[Event] = ()
    ) -> Mapping[PaymentId, int | None]:
        """Insert payments and the event of each in one statement, and return those that went in."""
        if not payments:
            return {}
        columns: dict[str, object] = {
            name: [getattr(payment, name) for payment in payments] for name in _ADDED_COLUMNS
        }
        told: Sequence[Event | None] = events or [None] * len(payments)
        columns |= {
            "event_id": [event and event.id for event in told],
            "event_type": [event and event.type for event in told],
            "event_data": [event and json.dumps(event.data) for event in told],
            "audience": [event and write_array(event.audience) for event in told],
        }
        rows = await self._connection.execute(_ADD, {"publish_at": publish_at, **columns})
        if row := rows.first():
            self._wanted_by.update(row.wanted_by or ())
        return {row.id: row.commission_bps for row in rows}

    async def by_keys(self, keys: Sequence[tuple[UserId, str]]) -> Mapping[tuple[UserId, str], Payment]:
        """Return the payments made under pairs of payer and idempotency key."""
        values = {"payer_ids": [payer_id for payer_id, _ in keys], "keys": [key for _, key in keys]}
        rows = await self._connection.execute(_BY_KEYS, values)
        return {(row.payer_id, row.idempotency_key): read_payment(row) for row in rows}

    async def of_order(self, order_id: OrderId) -> Payment | None:
        """Return the payment that paid for an order."""
        row = (await self._connection.execute(_OF_ORDER, {"order_id": order_id})).first()
        return read_payment(row) if row else None

    async def visible(self, asked: Sequence[tuple[Principal, PaymentId]]) -> Sequence[Payment | None]:
        """Return, in order, each payment that its asker paid, sells a part of, or sees by role."""
        seen = await self.look([Glance(principal, payment_id) for principal, payment_id in asked])
        return [sight.news if sight else None for sight in seen]

    async def look(self, glances: Sequence[Glance]) -> Sequence[Sight | None]:
        """Return, in order, what each glance sees; None for a payment that is not `visible` to who looks."""
        known = [glance.known or (None, None) for glance in glances]
        values = {
            "ids": [glance.payment_id for glance in glances],
            "user_ids": [glance.principal.user_id for glance in glances],
            "sees_all": [glance.principal.sees_all for glance in glances],
            "known_xmins": [xmin for xmin, _ in known],
            "known_at": [at for _, at in known],
        }
        seen: list[Sight | None] = [None] * len(glances)
        for row in await self._connection.execute(_LOOK, values):
            payment = None if row.id is None else read_payment(row)
            seen[row.n - 1] = Sight(payment, (row.seen_xmin, row.seen_at))
        return seen

    async def ask_for_capture(
        self,
        payment_id: PaymentId,
        amount_minor: int,
        *,
        request_id: str | None = None,
        due_at: datetime,
        publish_at: datetime,
    ) -> None:
        """Write that a locked payment is to be captured, and when it wants to be looked at and announced."""
        values = {
            "id": payment_id,
            "capture_minor": amount_minor,
            "request_id": request_id,
            "due_at": due_at,
            "publish_at": publish_at,
        }
        await self._connection.execute(_ASK_FOR_CAPTURE, values)

    async def ask_for_cancellation(
        self, payment_id: PaymentId, *, request_id: str | None = None, due_at: datetime, publish_at: datetime
    ) -> None:
        """Write that a locked payment is to be cancelled, and when it wants to be looked at and announced."""
        values = {"id": payment_id, "request_id": request_id, "due_at": due_at, "publish_at": publish_at}
        await self._connection.execute(_ASK_FOR_CANCELLATION, values)

    async def lock(self, payment_id: PaymentId) -> Payment:
        """Lock a payment that exists until the transaction ends. Lock its order first."""
        return read_payment((await self._connection.execute(_LOCK, {"id": payment_id})).one())

    async def page(
        self, principal: Principal, request: PageRequest, order_id: OrderId | None = None
    ) -> Page[Payment]:
        """Return a page of the payments that the caller may see, of one order if given, newest first."""
        values: dict[str, object] = {"after": request.after, "limit": request.limit + 1}
        if order_id is not None:
            whose = {"user_id": principal.user_id, "sees_all": principal.sees_all}
            rows = await self._connection.execute(_PAGE_OF_ORDER, {**values, **whose, "order_id": order_id})
            return cut([read_payment(row) for row in rows], request)
        if not principal.sees_all:
            values["user_id"] = principal.user_id
        rows = await self._connection.execute(_PAGES.get(principal.role, _PAGE_OF_ALL), values)
        return cut([read_payment(row) for row in rows], request)


def read_payment(row: Row) -> Payment:
    """Make a payment from a row that holds COLUMNS."""
    return Payment(
        id=row.id,
        payer_id=row.payer_id,
        order_id=row.order_id,
        seller_id=row.seller_id,
        amount_minor=row.amount_minor,
        currency=row.currency,
        commission_bps=row.commission_bps,
        payment_method=row.payment_method,
        capture=_CAPTURES[row.capture],
        status=_STATUSES[row.status],
        idempotency_key=row.idempotency_key,
        request_hash=row.request_hash,
        created_at=row.created_at,
        updated_at=row.updated_at,
        failure_code=row.failure_code,
        client_secret=row.client_secret,
        stripe_intent_id=row.stripe_intent_id,
        stripe_charge_id=row.stripe_charge_id,
        captured_minor=row.captured_minor,
        refunded_minor=row.refunded_minor,
        fee_minor=row.fee_minor,
        funds_available_at=row.funds_available_at,
        attempts=row.attempts,
        first_charged_at=row.first_charged_at,
        lookup_only=row.lookup_only,
        capture_minor=row.capture_minor,
        cancel_requested=row.cancel_requested,
        traceparent=row.traceparent,
        request_id=row.request_id,
    )
