"""Everything that money leaves behind in PostgreSQL, by any of its ids.

A new noun is one row in `FINDERS`, what its id looks like and the statement that leads from it to orders,
payments and payouts, and one in `db/trace_nodes.py`, the statement that leads back. Every one of them reads by an
index.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from db.connection import Connection, Row
from db.sql import Sql
from db.trace_nodes import NODES, SOURCES
from domain.ledger.model import JournalKind
from domain.traces.model import MAX_PAYMENTS, Lead, Node, NodeKind, Roots

# In capitals too, as other programs write them.
_UUID = r"[0-9A-Fa-f]{8}-?([0-9A-Fa-f]{4}-?){3}[0-9A-Fa-f]{12}"
_ENTRY = rf"{_UUID}:[0-9]{{1,4}}"


@dataclass(frozen=True, slots=True)
class _Finder:
    """Leads from an id of one kind, in the form that `pattern` tells, to orders, payments and payouts."""

    kind: NodeKind
    pattern: str
    statement: Sql


def _finder(kind: NodeKind, pattern: str, statement: str) -> _Finder:
    return _Finder(kind, pattern, Sql(statement))


# Of all journals that a source has caused. The kinds are named so that the index on both is used.
_BY_SOURCE = """
    SELECT payment_id FROM journals
    WHERE kind = ANY(:kinds) AND source = :sought AND payment_id IS NOT NULL
    ORDER BY payment_id LIMIT 10
"""
_OF_JOURNAL = """
    SELECT j.payment_id, coalesce(t.id, r.payout_id) AS payout_id,
           CASE WHEN coalesce(j.payment_id, t.id, r.payout_id) IS NULL THEN j.id END AS journal_id
    FROM journals j
    LEFT JOIN payouts t ON j.kind = 'payout' AND t.stripe_transfer_id = j.source
    LEFT JOIN payout_reversals r ON j.kind = 'payout_reversed' AND r.stripe_reversal_id = j.source
"""
_OF_EVENT = """
    SELECT o.id AS order_id, p.id AS payment_id, t.id AS payout_id FROM events e
    LEFT JOIN orders o ON o.id = e.subject_id LEFT JOIN payments p ON p.id = e.subject_id
    LEFT JOIN payouts t ON t.id = e.subject_id
"""
# Of Stripe's list alone: nobody here has to know of it.
_LISTED = "SELECT id AS line_id FROM stripe_transactions WHERE source = :sought ORDER BY id LIMIT 10"
# A payout to our own bank, as it is listed or booked, with the payments in it.
_OWN_PAYOUT = """
    SELECT id AS line_id, NULL::uuid AS journal_id, NULL::uuid AS payment_id FROM stripe_transactions
    WHERE source = :sought
    UNION ALL
    SELECT NULL, id, NULL FROM journals WHERE kind IN ('bank_payout', 'bank_payout_returned') AND source = :sought
    UNION ALL
    SELECT NULL, NULL, p.id FROM (
        SELECT payment_id FROM stripe_transactions WHERE payout_id = :sought ORDER BY id LIMIT 1000
    ) AS inside JOIN payments p ON p.id = inside.payment_id
"""
_EVERY_KIND = list(JournalKind)
_REQUEST_SPAN = 30_000 << 80
"""As UUIDv7 counts: how many milliseconds after a request's id its payment's may be."""
_MANY = MAX_PAYMENTS + 1
"""Of what one id leads to, which many may bear: one more than a trace follows, so that it says where it is cut."""
FINDERS = (
    _finder(NodeKind.PAYMENT, _UUID, "SELECT order_id, id AS payment_id FROM payments WHERE id = :uuid"),
    _finder(NodeKind.ORDER, _UUID, "SELECT id AS order_id FROM orders WHERE id = :uuid"),
    _finder(NodeKind.PAYOUT, _UUID, "SELECT id AS payout_id FROM payouts WHERE id = :uuid"),
    _finder(NodeKind.PAYOUT_REVERSAL, _UUID, "SELECT payout_id FROM payout_reversals WHERE id = :uuid"),
    _finder(NodeKind.JOURNAL, _UUID, f"{_OF_JOURNAL} WHERE j.id = :uuid"),
    _finder(NodeKind.REFUND, _UUID, "SELECT payment_id FROM refunds WHERE id = :uuid"),
    _finder(NodeKind.DISPUTE, _UUID, "SELECT payment_id FROM disputes WHERE id = :uuid"),
    # The API makes a request's id right before the payment's, and both begin with the time.
    _finder(
        NodeKind.REQUEST,
        "[0-9a-f]{32}",
        """
        SELECT p.order_id, p.id AS payment_id
        FROM (
            SELECT id, order_id FROM payments
            WHERE id >= :uuid AND id < CAST(:until AS uuid) ORDER BY id LIMIT 10000
        ) AS p JOIN events e ON e.subject_id = p.id AND e.type = 'payment.accepted'
        WHERE e.data ->> 'request_id' = :sought
        ORDER BY p.id LIMIT 1
        """,
    ),
    _finder(
        NodeKind.EXCEPTION,
        _UUID,
        """
        SELECT p.id AS payment_id, x.stripe_transaction_id AS line_id, x.journal_ids[1] AS journal_id
        FROM reconciliation_exceptions x LEFT JOIN payments p ON p.id = x.payment_id WHERE x.id = :uuid
        """,
    ),
    _finder(NodeKind.EVENT, _UUID, f"{_OF_EVENT} WHERE e.id = :uuid"),
    _finder(NodeKind.DELIVERY, _UUID, f"{_OF_EVENT} JOIN deliveries d ON d.event_id = e.id WHERE d.id = :uuid"),
    _finder(
        NodeKind.ENTRY,
        _ENTRY,
        f"{_OF_JOURNAL} JOIN entries e ON e.journal_id = j.id WHERE e.journal_id = :uuid AND e.line = :line",
    ),
    _finder(
        NodeKind.PAYMENT_INTENT,
        "pi_.+",
        "SELECT order_id, id AS payment_id FROM payments WHERE stripe_intent_id = :sought ORDER BY id LIMIT 10",
    ),
    _finder(
        NodeKind.STRIPE_REFUND,
        "(re|pyr)_.+",
        "SELECT payment_id FROM refunds WHERE stripe_refund_id = :sought",
    ),
    _finder(
        NodeKind.STRIPE_DISPUTE,
        "d[pu]_.+",
        "SELECT payment_id FROM disputes WHERE stripe_dispute_id = :sought",
    ),
    _finder(
        NodeKind.TRANSFER,
        "tr_.+",
        "SELECT id AS payout_id FROM payouts WHERE stripe_transfer_id = :sought",
    ),
    _finder(
        NodeKind.STRIPE_PAYOUT,
        "po_.+",
        f"SELECT id AS payout_id FROM payouts WHERE stripe_payout_id = :sought ORDER BY id LIMIT {_MANY}",
    ),
    _finder(
        NodeKind.TRANSFER_REVERSAL,
        "trr_.+",
        "SELECT payout_id FROM payout_reversals WHERE stripe_reversal_id = :sought",
    ),
    _finder(NodeKind.CHARGE, "(ch|py)_.+", _BY_SOURCE),
    _finder(NodeKind.BALANCE_TRANSACTION, "txn_.+", _BY_SOURCE),
    _finder(
        NodeKind.BALANCE_TRANSACTION,
        "txn_.+",
        """
        SELECT p.id AS payment_id, coalesce(o.id, r.payout_id) AS payout_id, t.id AS line_id
        FROM stripe_transactions t LEFT JOIN payments p ON p.id = t.payment_id
        LEFT JOIN payouts o ON o.stripe_transfer_id = t.source
        LEFT JOIN payout_reversals r ON r.stripe_reversal_id = t.source
        WHERE t.id = :sought
        """,
    ),
    _finder(NodeKind.CHARGE, "(ch|py)_.+", _LISTED),
    _finder(NodeKind.STRIPE_REFUND, "(re|pyr)_.+", _LISTED),
    _finder(NodeKind.STRIPE_DISPUTE, "d[pu]_.+", _LISTED),
    _finder(NodeKind.TRANSFER, "tr_.+", _LISTED),
    _finder(NodeKind.TRANSFER_REVERSAL, "trr_.+", _LISTED),
    _finder(NodeKind.STRIPE_PAYOUT, "po_.+", _OWN_PAYOUT),
    # An id that a caller brought, perhaps again, or of what was asked for beside or about payments, whoever made
    # it; a payment bears the last one about it.
    _finder(
        NodeKind.REQUEST,
        ".+",
        f"""
        (SELECT p.order_id, p.id AS payment_id, NULL::uuid AS payout_id
         FROM events e JOIN payments p ON p.id = e.subject_id
         WHERE e.type = 'payment.accepted' AND e.data ->> 'request_id' = :sought
            AND (length(e.data ->> 'request_id') <> 32 OR substr(e.data ->> 'request_id', 13, 1) <> '7')
         ORDER BY p.id LIMIT {_MANY})
        UNION ALL
        (SELECT DISTINCT NULL::uuid, payment_id, NULL::uuid FROM refunds WHERE request_id = :sought
         ORDER BY payment_id LIMIT {_MANY})
        UNION ALL
        (SELECT NULL, NULL, id FROM payouts WHERE request_id = :sought ORDER BY id LIMIT {_MANY})
        UNION ALL
        (SELECT order_id, id, NULL FROM payments
         WHERE request_id = :sought AND (capture = 'manual' OR cancel_requested) ORDER BY id LIMIT {_MANY})
        """,
    ),
    # A key belongs to its caller and endpoint, so several may have used the same.
    _finder(
        NodeKind.IDEMPOTENCY_KEY,
        ".+",
        f"""
        (SELECT order_id, id AS payment_id, NULL::uuid AS payout_id FROM payments WHERE idempotency_key = :sought
         ORDER BY id LIMIT {_MANY})
        UNION ALL
        (SELECT id, NULL, NULL FROM orders WHERE idempotency_key = :sought ORDER BY id LIMIT {_MANY})
        UNION ALL
        (SELECT DISTINCT NULL::uuid, payment_id, NULL::uuid FROM refunds WHERE idempotency_key = :sought
         ORDER BY payment_id LIMIT {_MANY})
        UNION ALL
        (SELECT NULL, NULL, id FROM payouts WHERE idempotency_key = :sought ORDER BY id LIMIT {_MANY})
        """,
    ),
)
_STRIPE_EVENT = Sql("SELECT body FROM stripe_events WHERE id = :id")
_ROOTS = Sql(
    """
    WITH led AS (
        SELECT p.id, p.order_id FROM payments p
        WHERE p.id = ANY(CAST(:payment_ids AS uuid[]) || ARRAY(
            SELECT DISTINCT j.payment_id FROM payout_entries x JOIN journals j ON j.id = x.journal_id
            WHERE x.payout_id = ANY(CAST(:payout_ids AS uuid[])) AND j.payment_id IS NOT NULL
            ORDER BY j.payment_id LIMIT :limit))
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


_PAYOUTS_OF = Sql(
    """
    SELECT x.payout_id FROM journals j JOIN payout_entries x ON x.journal_id = j.id
    WHERE j.payment_id = ANY(CAST(:payment_ids AS uuid[])) AND x.payout_id IS NOT NULL
    UNION SELECT unnest(CAST(:payout_ids AS uuid[]))
    ORDER BY payout_id LIMIT :limit
    """
)
# What Stripe lists of payments and payouts, the payouts to our bank in which it lists that, what reconciliation
# says of all these, and the journals of all of it.
BESIDE = Sql(
    f"""
    WITH sources AS ({SOURCES}), near AS (
        SELECT t.id, t.payout_id FROM sources s JOIN stripe_transactions t ON t.source = s.id
    ), lines AS (
        SELECT unnest(CAST(:line_ids AS text[])) AS id
        UNION
        SELECT transaction_id FROM reconciled_journals WHERE journal_id = ANY(CAST(:journal_ids AS uuid[]))
        UNION
        SELECT x.stripe_transaction_id FROM journals j JOIN reconciliation_exceptions x
            ON x.id = CASE WHEN j.kind = 'correction' THEN CAST(split_part(j.source, ':', 1) AS uuid) END
        WHERE j.id = ANY(CAST(:journal_ids AS uuid[])) AND x.stripe_transaction_id IS NOT NULL
        UNION
        SELECT b.id FROM near n JOIN stripe_transactions b ON b.source = n.payout_id
    ), exceptions AS (
        SELECT x.id, x.journal_ids FROM reconciliation_exceptions x
        WHERE x.key IN (
            SELECT id FROM lines UNION SELECT id FROM near
            UNION SELECT CAST(unnest(CAST(:journal_ids AS uuid[])) AS text))
        UNION
        SELECT x.id, x.journal_ids FROM reconciliation_exceptions x
        WHERE x.payment_id = ANY(CAST(:payment_ids AS uuid[]))
    )
    SELECT 'line' AS what, id FROM lines
    UNION
    SELECT 'exception', CAST(id AS text) FROM exceptions
    UNION
    SELECT 'journal', CAST(id AS text) FROM (
        SELECT unnest(CAST(:journal_ids AS uuid[])) AS id
        UNION
        SELECT r.journal_id FROM lines l JOIN reconciled_journals r ON r.transaction_id = l.id
        UNION
        SELECT unnest(journal_ids) FROM exceptions
        UNION
        SELECT s.journal_id FROM exceptions x JOIN reconciliation_resolutions s ON s.exception_id = x.id
        WHERE s.journal_id IS NOT NULL
    ) AS journals
    ORDER BY what, id LIMIT :limit
    """
)


class Traces:
    """`domain.traces.ports.TraceRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Read on that connection."""
        self._connection = connection

    async def find(self, sought: str) -> Lead | None:
        """Return what an id leads to, by an index each time; None where it leads nowhere."""
        for finder in FINDERS:
            if not re.fullmatch(finder.pattern, sought, re.ASCII):
                continue
            rows = (await self._connection.execute(finder.statement, _values(sought))).all()
            if lead := _lead(finder.kind, rows):
                return lead
        return None

    async def stripe_event(self, event_id: str) -> str | None:
        """Return the raw body of one of Stripe's events, while it is kept."""
        body: str | None = (await self._connection.execute(_STRIPE_EVENT, {"id": event_id})).scalar()
        return body

    async def roots(self, lead: Lead, *, limit: int) -> Roots:
        """Return what a lead belongs to: whole orders, direct payments, payouts; at most `limit` of each.

        A payout leads to all payments that it takes of, a payment to all its payouts, and no further.
        """
        names = ("order_ids", "payment_ids", "payout_ids", "line_ids", "journal_ids")
        values = {**{name: list(getattr(lead, name)) for name in names}, "limit": limit + 1}
        rows = (await self._connection.execute(_ROOTS, values)).all()
        kept = rows[:limit]
        payment_ids = [row.payment_id for row in kept if row.payment_id is not None]
        found = await self._connection.execute(_PAYOUTS_OF, {**values, "payment_ids": payment_ids})
        payout_ids = found.scalars().all()
        near = {**values, "payment_ids": payment_ids, "payout_ids": payout_ids[:limit]}
        beside = (await self._connection.execute(BESIDE, {**near, "limit": 10 * limit + 1})).all()
        ids = {what: [row.id for row in beside if row.what == what] for what in ("line", "exception", "journal")}
        return Roots(
            order_ids=sorted({row.order_id for row in kept if row.order_id is not None}),
            payment_ids=payment_ids,
            payout_ids=payout_ids[:limit],
            line_ids=ids["line"],
            exception_ids=[UUID(each) for each in ids["exception"]],
            journal_ids=[UUID(each) for each in ids["journal"]],
            is_cut=max(len(rows), len(payout_ids)) > limit or len(beside) > 10 * limit,
        )

    async def nodes(self, roots: Roots, *, limit: int) -> Sequence[Node]:
        """Return all that belongs to the roots: for each table, the `limit` oldest rows and one more."""
        names = ("order_ids", "payment_ids", "payout_ids", "line_ids", "exception_ids", "journal_ids")
        ids = {name: list(getattr(roots, name)) for name in names}
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
    found = UUID(journal_id) if is_uuid else None
    return {
        "sought": sought,
        "uuid": found,
        "until": UUID(int=min(found.int + _REQUEST_SPAN, UUID(bytes=b"\xff" * 16).int)) if found else None,
        "line": int(line) if entry else None,
        "kinds": _EVERY_KIND,
    }


def _lead(kind: NodeKind, rows: Sequence[Row]) -> Lead | None:
    """Return what rows lead to; each statement has the columns that it knows."""
    found = [
        sorted({row._mapping[name] for row in rows if row._mapping.get(name) is not None})
        for name in ("order_id", "payment_id", "payout_id", "line_id", "journal_id")
    ]
    return Lead(kind, *found) if any(found) else None


def _node(row: Row) -> Node:
    parent = (NodeKind(row.parent_kind), row.parent_id) if row.parent_id is not None else None
    facts = {name: value for name, value in row.facts.items() if value is not None}
    return Node(NodeKind(row.kind), row.id, parent, row.at, facts)
