"""Everything that money leaves behind in PostgreSQL, by any of its ids.

A new noun is one row in `FINDERS`, what its id looks like and the statement that leads from it to orders and
payments, and one in `NODES`, the statement that leads back. Every one of them reads by an index.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import TextClause, text

from db.connection import Connection, Row
from domain.ledger.model import JournalKind
from domain.traces.model import Lead, Node, NodeKind, Roots

_UUID = r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}"
_ENTRY = rf"{_UUID}:[0-9]{{1,4}}"


@dataclass(frozen=True, slots=True)
class _Finder:
    """Leads from an id of one kind, in the form that `pattern` tells, to orders and payments."""

    kind: NodeKind
    pattern: str
    statement: TextClause


def _finder(kind: NodeKind, pattern: str, statement: str) -> _Finder:
    return _Finder(kind, pattern, text(statement))


# Of all journals that a source has caused. The kinds are named so that the index on both is used.
_BY_SOURCE = """
    SELECT NULL::uuid AS order_id, payment_id FROM journals
    WHERE kind = ANY(:kinds) AND source = :sought AND payment_id IS NOT NULL
    ORDER BY payment_id LIMIT 10
"""
_EVERY_KIND = list(JournalKind)
FINDERS = (
    _finder(NodeKind.PAYMENT, _UUID, "SELECT order_id, id AS payment_id FROM payments WHERE id = :uuid"),
    _finder(NodeKind.ORDER, _UUID, "SELECT id AS order_id, NULL::uuid AS payment_id FROM orders WHERE id = :uuid"),
    _finder(NodeKind.JOURNAL, _UUID, "SELECT NULL::uuid AS order_id, payment_id FROM journals WHERE id = :uuid"),
    _finder(NodeKind.REFUND, _UUID, "SELECT NULL::uuid AS order_id, payment_id FROM refunds WHERE id = :uuid"),
    _finder(NodeKind.DISPUTE, _UUID, "SELECT NULL::uuid AS order_id, payment_id FROM disputes WHERE id = :uuid"),
    _finder(
        NodeKind.EVENT,
        _UUID,
        """
        SELECT o.id AS order_id, p.id AS payment_id FROM events e
        LEFT JOIN orders o ON o.id = e.subject_id LEFT JOIN payments p ON p.id = e.subject_id
        WHERE e.id = :uuid
        """,
    ),
    _finder(
        NodeKind.ENTRY,
        _ENTRY,
        """
        SELECT NULL::uuid AS order_id, j.payment_id FROM entries e JOIN journals j ON j.id = e.journal_id
        WHERE e.journal_id = :uuid AND e.line = :line
        """,
    ),
    _finder(
        NodeKind.PAYMENT_INTENT,
        "pi_.+",
        "SELECT order_id, id AS payment_id FROM payments WHERE stripe_intent_id = :sought ORDER BY id LIMIT 10",
    ),
    _finder(
        NodeKind.STRIPE_REFUND,
        "(re|pyr)_.+",
        "SELECT NULL::uuid AS order_id, payment_id FROM refunds WHERE stripe_refund_id = :sought",
    ),
    _finder(
        NodeKind.STRIPE_DISPUTE,
        "d[pu]_.+",
        "SELECT NULL::uuid AS order_id, payment_id FROM disputes WHERE stripe_dispute_id = :sought",
    ),
    _finder(NodeKind.CHARGE, "(ch|py)_.+", _BY_SOURCE),
    _finder(NodeKind.BALANCE_TRANSACTION, "txn_.+", _BY_SOURCE),
)
_STRIPE_EVENT = text("SELECT body FROM stripe_events WHERE id = :id")
_ROOTS = text(
    """
    WITH led AS (
        SELECT p.id, p.order_id FROM payments p WHERE p.id = ANY(CAST(:payment_ids AS uuid[]))
    )
    SELECT coalesce(p.order_id, o.order_id) AS order_id, p.id AS payment_id
    FROM (
        SELECT order_id FROM led WHERE order_id IS NOT NULL
        UNION SELECT unnest(CAST(:order_ids AS uuid[]))
    ) AS o LEFT JOIN payments p ON p.order_id = o.order_id
    UNION ALL
    SELECT NULL, id FROM led WHERE order_id IS NULL
    ORDER BY 1, 2 LIMIT :limit
    """
)

# Each tells what it found in the same columns; a node without a parent among the others is a root.
_ORDERS = """
    SELECT 'order' AS kind, o.id::text AS id, NULL AS parent_kind, NULL AS parent_id, o.created_at AS at,
           jsonb_build_object('status', o.status, 'amount_minor', o.amount_minor, 'currency', o.currency,
               'buyer_id', o.buyer_id) AS facts
    FROM orders o WHERE o.id = ANY(CAST(:order_ids AS uuid[]))
    ORDER BY o.id LIMIT :limit
"""
_PAYMENTS = """
    SELECT 'payment' AS kind, p.id::text AS id, 'order' AS parent_kind, p.order_id::text AS parent_id,
           p.created_at AS at,
           jsonb_build_object('status', p.status, 'amount_minor', p.amount_minor, 'currency', p.currency,
               'captured_minor', p.captured_minor, 'refunded_minor', p.refunded_minor, 'fee_minor', p.fee_minor,
               'payer_id', p.payer_id, 'seller_id', p.seller_id, 'attempts', p.attempts,
               'first_attempt_at', p.first_charged_at, 'failure_code', p.failure_code,
               'idempotency_key', p.idempotency_key, 'traceparent', p.traceparent) AS facts
    FROM payments p WHERE p.id = ANY(CAST(:payment_ids AS uuid[]))
    ORDER BY p.id LIMIT :limit
"""
_INTENTS = """
    SELECT 'payment_intent' AS kind, p.stripe_intent_id AS id, 'payment' AS parent_kind, p.id::text AS parent_id,
           coalesce(p.first_charged_at, p.created_at) AS at, '{}'::jsonb AS facts
    FROM payments p WHERE p.id = ANY(CAST(:payment_ids AS uuid[])) AND p.stripe_intent_id IS NOT NULL
    ORDER BY p.id LIMIT :limit
"""
_CHARGES = """
    SELECT 'charge' AS kind, p.stripe_charge_id AS id, 'payment_intent' AS parent_kind,
           p.stripe_intent_id AS parent_id, coalesce(p.first_charged_at, p.created_at) AS at,
           jsonb_build_object('amount_minor', p.captured_minor, 'currency', p.currency) AS facts
    FROM payments p WHERE p.id = ANY(CAST(:payment_ids AS uuid[])) AND p.stripe_charge_id IS NOT NULL
    ORDER BY p.id LIMIT :limit
"""
_REFUNDS = """
    SELECT 'refund' AS kind, r.id::text AS id, 'payment' AS parent_kind, r.payment_id::text AS parent_id,
           r.created_at AS at,
           jsonb_build_object('status', r.status, 'amount_minor', r.amount_minor, 'currency', r.currency,
               'origin', r.origin, 'reason', r.reason, 'requested_by', r.requested_by, 'attempts', r.attempts,
               'failure_code', r.failure_code, 'idempotency_key', r.idempotency_key) AS facts
    FROM refunds r WHERE r.payment_id = ANY(CAST(:payment_ids AS uuid[]))
    ORDER BY r.payment_id, r.id LIMIT :limit
"""
_STRIPE_REFUNDS = """
    SELECT 'stripe_refund' AS kind, r.stripe_refund_id AS id, 'refund' AS parent_kind, r.id::text AS parent_id,
           coalesce(r.first_sent_at, r.created_at) AS at, '{}'::jsonb AS facts
    FROM refunds r
    WHERE r.payment_id = ANY(CAST(:payment_ids AS uuid[])) AND r.stripe_refund_id IS NOT NULL
    ORDER BY r.payment_id, r.id LIMIT :limit
"""
_DISPUTES = """
    SELECT 'dispute' AS kind, d.id::text AS id, 'payment' AS parent_kind, d.payment_id::text AS parent_id,
           d.opened_at AS at,
           jsonb_build_object('status', d.status, 'funds', d.funds, 'amount_minor', d.amount_minor,
               'withdrawn_minor', d.withdrawn_minor, 'currency', d.currency, 'reason', d.reason) AS facts
    FROM disputes d WHERE d.payment_id = ANY(CAST(:payment_ids AS uuid[]))
    ORDER BY d.id LIMIT :limit
"""
_STRIPE_DISPUTES = """
    SELECT 'stripe_dispute' AS kind, d.stripe_dispute_id AS id, 'dispute' AS parent_kind,
           d.id::text AS parent_id, d.opened_at AS at, '{}'::jsonb AS facts
    FROM disputes d WHERE d.payment_id = ANY(CAST(:payment_ids AS uuid[]))
    ORDER BY d.id LIMIT :limit
"""
# A movement of Stripe's balance is known by the journals that it caused, beside the charge's or refund's own.
_MOVED = """
    SELECT DISTINCT ON (j.payment_id, j.source) j.payment_id, j.source, j.created_at
    FROM journals j
    WHERE j.payment_id = ANY(CAST(:payment_ids AS uuid[])) AND j.source LIKE 'txn\\_%'
    ORDER BY j.payment_id, j.source, j.created_at
"""
_BALANCE_TRANSACTIONS = f"""
    SELECT 'balance_transaction' AS kind, m.source AS id,
           CASE WHEN r.id IS NOT NULL THEN 'stripe_refund' WHEN d.id IS NOT NULL THEN 'stripe_dispute'
               ELSE 'charge' END AS parent_kind,
           coalesce(r.stripe_refund_id, d.stripe_dispute_id, p.stripe_charge_id) AS parent_id,
           m.created_at AS at, '{{}}'::jsonb AS facts
    FROM ({_MOVED}) AS m JOIN payments p ON p.id = m.payment_id
    LEFT JOIN refunds r ON r.payment_id = m.payment_id
        AND m.source IN (r.transaction_id, r.failure_transaction_id)
    LEFT JOIN disputes d ON d.payment_id = m.payment_id AND m.source = ANY(d.transaction_ids)
    ORDER BY m.payment_id, m.source LIMIT :limit
"""
_JOURNALS = """
    SELECT 'journal' AS kind, j.id::text AS id,
           CASE WHEN j.source LIKE 'txn\\_%' THEN 'balance_transaction'
                WHEN r.id IS NOT NULL THEN 'stripe_refund'
                WHEN j.source = p.stripe_charge_id THEN 'charge' ELSE 'payment' END AS parent_kind,
           CASE WHEN j.source LIKE 'txn\\_%' OR r.id IS NOT NULL OR j.source = p.stripe_charge_id
                THEN j.source ELSE j.payment_id::text END AS parent_id,
           j.created_at AS at,
           jsonb_build_object('kind', j.kind, 'source', j.source, 'currency', j.currency,
               'conversion', (SELECT to_jsonb(c) - 'journal_id' FROM conversions c WHERE c.journal_id = j.id))
               AS facts
    FROM journals j JOIN payments p ON p.id = j.payment_id
    LEFT JOIN refunds r ON r.stripe_refund_id = j.source
    WHERE j.payment_id = ANY(CAST(:payment_ids AS uuid[]))
    ORDER BY j.id LIMIT :limit
"""
_ENTRIES = """
    SELECT 'entry' AS kind, e.journal_id::text || ':' || e.line AS id, 'journal' AS parent_kind,
           e.journal_id::text AS parent_id, j.created_at AS at,
           jsonb_build_object('account', e.account, 'currency', e.currency,
               'debit_minor', CASE WHEN e.amount_minor > 0 THEN e.amount_minor END,
               'credit_minor', CASE WHEN e.amount_minor < 0 THEN -e.amount_minor END) AS facts
    FROM journals j JOIN entries e ON e.journal_id = j.id
    WHERE j.payment_id = ANY(CAST(:payment_ids AS uuid[]))
    ORDER BY e.journal_id, e.line LIMIT :limit
"""
_EVENTS = """
    SELECT 'event' AS kind, e.id::text AS id,
           CASE WHEN e.subject_id = ANY(CAST(:payment_ids AS uuid[])) THEN 'payment' ELSE 'order' END
               AS parent_kind,
           e.subject_id::text AS parent_id, e.created_at AS at,
           jsonb_build_object('type', e.type, 'position', e.position, 'data', e.data) AS facts
    FROM events e
    WHERE e.subject_id = ANY(CAST(:payment_ids AS uuid[]) || CAST(:order_ids AS uuid[]))
    ORDER BY e.position LIMIT :limit
"""
NODES = [
    text(statement)
    for statement in (
        _ORDERS,
        _PAYMENTS,
        _INTENTS,
        _CHARGES,
        _REFUNDS,
        _STRIPE_REFUNDS,
        _DISPUTES,
        _STRIPE_DISPUTES,
        _BALANCE_TRANSACTIONS,
        _JOURNALS,
        _ENTRIES,
        _EVENTS,
    )
]


class Traces:
    """`domain.traces.ports.TraceRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Read on that connection."""
        self._connection = connection

    async def find(self, sought: str) -> Lead | None:
        """Return what an id leads to, by an index each time; None where it leads to no order and no payment."""
        for finder in FINDERS:
            if not re.fullmatch(finder.pattern, sought, re.ASCII):
                continue
            rows = (await self._connection.execute(finder.statement, _values(sought))).all()
            orders = sorted({row.order_id for row in rows if row.order_id is not None})
            payments = sorted({row.payment_id for row in rows if row.payment_id is not None})
            if orders or payments:
                return Lead(finder.kind, orders, payments)
        return None

    async def stripe_event(self, event_id: str) -> str | None:
        """Return the raw body of one of Stripe's events, while it is kept."""
        body: str | None = (await self._connection.execute(_STRIPE_EVENT, {"id": event_id})).scalar()
        return body

    async def roots(self, lead: Lead, *, limit: int) -> Roots:
        """Return the whole orders and the direct payments that a lead belongs to, at most `limit` payments."""
        values = {"order_ids": list(lead.order_ids), "payment_ids": list(lead.payment_ids), "limit": limit + 1}
        rows = (await self._connection.execute(_ROOTS, values)).all()
        kept = rows[:limit]
        return Roots(
            order_ids=sorted({row.order_id for row in kept if row.order_id is not None}),
            payment_ids=[row.payment_id for row in kept if row.payment_id is not None],
            is_cut=len(rows) > limit,
        )

    async def nodes(self, roots: Roots, *, limit: int) -> Sequence[Node]:
        """Return all that belongs to the roots: for each table, the `limit` oldest rows and one more."""
        ids = {"order_ids": list(roots.order_ids), "payment_ids": list(roots.payment_ids)}
        return [
            _node(row)
            for statement in NODES
            for row in await self._connection.execute(statement, {**ids, "limit": limit + 1})
        ]


def _values(sought: str) -> Mapping[str, object]:
    """Return an id in the forms in which the statements take it."""
    entry = re.fullmatch(_ENTRY, sought, re.ASCII)
    journal_id, _, line = sought.partition(":")
    is_uuid = re.fullmatch(_UUID, journal_id, re.ASCII)
    return {
        "sought": sought,
        "uuid": UUID(journal_id) if is_uuid else None,
        "line": int(line) if entry else None,
        "kinds": _EVERY_KIND,
    }


def _node(row: Row) -> Node:
    parent = (NodeKind(row.parent_kind), row.parent_id) if row.parent_id is not None else None
    facts = {name: value for name, value in row.facts.items() if value is not None}
    return Node(NodeKind(row.kind), row.id, parent, row.at, facts)
