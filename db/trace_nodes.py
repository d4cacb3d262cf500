"""What belongs to orders, payments and payouts, each noun by a statement of its own, for traces."""

from db.sql import Sql

# Each tells what it found in the same columns; a node without a parent among the others is a root.
_ORDERS = """
    SELECT 'order' AS kind, o.id::text AS id, NULL AS parent_kind, NULL AS parent_id, o.created_at AS at,
           jsonb_build_object('status', o.status, 'amount_minor', o.amount_minor, 'currency', o.currency,
               'buyer_id', o.buyer_id, 'idempotency_key', o.idempotency_key) AS facts
    FROM orders o WHERE o.id = ANY(CAST(:order_ids AS uuid[]))
    ORDER BY o.id LIMIT :limit
"""
# Whoever calls the API may bring an id of its own, so one request may seem to have made several payments.
_REQUESTS = """
    SELECT 'request' AS kind, e.data ->> 'request_id' AS id, 'order' AS parent_kind,
           e.data ->> 'order_id' AS parent_id, e.created_at AS at, '{}'::jsonb AS facts
    FROM events e
    WHERE e.subject_id = ANY(CAST(:payment_ids AS uuid[])) AND e.type = 'payment.accepted'
        AND e.data ->> 'request_id' IS NOT NULL
    ORDER BY e.position LIMIT :limit
"""
_PAYMENTS = """
    SELECT 'payment' AS kind, p.id::text AS id,
           CASE WHEN r.id IS NOT NULL THEN 'request' ELSE 'order' END AS parent_kind,
           coalesce(r.id, p.order_id::text) AS parent_id,
           p.created_at AS at,
           jsonb_build_object('status', p.status, 'amount_minor', p.amount_minor, 'currency', p.currency,
               'captured_minor', p.captured_minor, 'refunded_minor', p.refunded_minor, 'fee_minor', p.fee_minor,
               'payer_id', p.payer_id, 'seller_id', p.seller_id, 'attempts', p.attempts,
               'first_attempt_at', p.first_charged_at, 'failure_code', p.failure_code,
               'idempotency_key', p.idempotency_key, 'traceparent', p.traceparent) AS facts
    FROM payments p
    LEFT JOIN LATERAL (
        SELECT e.data ->> 'request_id' AS id FROM events e
        WHERE e.subject_id = p.id AND e.type = 'payment.accepted' ORDER BY e.position LIMIT 1
    ) AS r ON true
    WHERE p.id = ANY(CAST(:payment_ids AS uuid[]))
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
               'failure_code', r.failure_code, 'idempotency_key', r.idempotency_key, 'request_id', r.request_id,
               'traceparent', r.traceparent) AS facts
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
SOURCES = """
    SELECT 'charge' AS kind, stripe_charge_id AS id FROM payments
    WHERE id = ANY(CAST(:payment_ids AS uuid[])) AND stripe_charge_id IS NOT NULL
    UNION ALL
    SELECT 'stripe_refund', stripe_refund_id FROM refunds
    WHERE payment_id = ANY(CAST(:payment_ids AS uuid[])) AND stripe_refund_id IS NOT NULL
    UNION ALL
    SELECT 'stripe_dispute', stripe_dispute_id FROM disputes WHERE payment_id = ANY(CAST(:payment_ids AS uuid[]))
    UNION ALL
    SELECT 'transfer', stripe_transfer_id FROM payouts
    WHERE id = ANY(CAST(:payout_ids AS uuid[])) AND stripe_transfer_id IS NOT NULL
    UNION ALL
    SELECT 'transfer_reversal', stripe_reversal_id FROM payout_reversals
    WHERE payout_id = ANY(CAST(:payout_ids AS uuid[])) AND stripe_reversal_id IS NOT NULL
"""
"""What of payments and payouts moves money at Stripe, by Stripe's ids."""

_LINE = """
    t.created_at AS at,
    jsonb_build_object('category', t.category, 'amount_minor', t.amount_minor, 'fee_minor', t.fee_minor,
        'currency', t.currency, 'verdict', t.verdict, 'stripe_payout_id', t.payout_id) AS facts
"""
# As reconciliation has read it; what Stripe pays out to our own bank stands below that payout.
_LINES = f"""
    SELECT 'balance_transaction' AS kind, t.id AS id, s.kind AS parent_kind, s.id AS parent_id, {_LINE}
    FROM ({SOURCES}) AS s JOIN stripe_transactions t ON t.source = s.id
    UNION ALL
    SELECT 'balance_transaction', t.id, CASE WHEN t.source LIKE 'po\\_%' THEN 'stripe_payout' END,
        CASE WHEN t.source LIKE 'po\\_%' THEN t.source END, {_LINE}
    FROM stripe_transactions t WHERE t.id = ANY(CAST(:line_ids AS text[]))
    ORDER BY 2 LIMIT :limit
"""
# It stands below the first of the lines that are in it and that are shown.
_OWN_PAYOUTS = f"""
    SELECT 'stripe_payout' AS kind, b.source AS id,
           CASE WHEN min(n.id) IS NOT NULL THEN 'balance_transaction' END AS parent_kind, min(n.id) AS parent_id,
           min(b.created_at) AS at,
           jsonb_build_object('amount_minor', -min(b.amount_minor), 'currency', min(b.currency)) AS facts
    FROM stripe_transactions b LEFT JOIN (
        SELECT t.id, t.payout_id FROM ({SOURCES}) AS s JOIN stripe_transactions t ON t.source = s.id
    ) AS n ON n.payout_id = b.source
    WHERE b.id = ANY(CAST(:line_ids AS text[])) AND b.category = 'payout'
    GROUP BY b.source ORDER BY b.source LIMIT :limit
"""
_EXCEPTIONS = """
    SELECT 'exception' AS kind, x.id::text AS id,
           CASE WHEN x.stripe_transaction_id IS NULL THEN 'journal' ELSE 'balance_transaction' END AS parent_kind,
           coalesce(x.stripe_transaction_id, x.journal_ids[1]::text) AS parent_id, x.opened_at AS at,
           jsonb_build_object('type', x.kind, 'status', x.status, 'closed_by', x.closed_by) AS facts
    FROM reconciliation_exceptions x WHERE x.id = ANY(CAST(:exception_ids AS uuid[]))
    ORDER BY x.id LIMIT :limit
"""
_OTHER_JOURNALS = """
    SELECT 'journal' AS kind, j.id::text AS id,
           CASE WHEN j.kind = 'correction' THEN 'exception' WHEN r.transaction_id IS NOT NULL
               THEN 'balance_transaction' END AS parent_kind,
           CASE WHEN j.kind = 'correction' THEN split_part(j.source, ':', 1)
               ELSE r.transaction_id END AS parent_id,
           j.created_at AS at,
           jsonb_build_object('kind', j.kind, 'source', j.source, 'currency', j.currency) AS facts
    FROM journals j LEFT JOIN reconciled_journals r ON r.journal_id = j.id
    WHERE j.id = ANY(CAST(:journal_ids AS uuid[]))
    ORDER BY j.id LIMIT :limit
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
           CASE WHEN j.kind = 'correction' THEN 'exception'
                WHEN j.source LIKE 'txn\\_%' THEN 'balance_transaction'
                WHEN r.id IS NOT NULL THEN 'stripe_refund'
                WHEN j.source = p.stripe_charge_id THEN 'charge' ELSE 'payment' END AS parent_kind,
           CASE WHEN j.kind = 'correction' THEN split_part(j.source, ':', 1)
                WHEN j.source LIKE 'txn\\_%' OR r.id IS NOT NULL OR j.source = p.stripe_charge_id
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
_ENTRIES_OF = """
    SELECT 'entry' AS kind, e.journal_id::text || ':' || e.line AS id, 'journal' AS parent_kind,
           e.journal_id::text AS parent_id, j.created_at AS at,
           jsonb_build_object('account', e.account, 'currency', e.currency,
               'debit_minor', CASE WHEN e.amount_minor > 0 THEN e.amount_minor END,
               'credit_minor', CASE WHEN e.amount_minor < 0 THEN -e.amount_minor END,
               'payout_id', (SELECT x.payout_id FROM payout_entries x
                             WHERE x.journal_id = e.journal_id AND x.line = e.line)) AS facts
"""
_ENTRIES = f"""{_ENTRIES_OF}
    FROM journals j JOIN entries e ON e.journal_id = j.id
    WHERE j.payment_id = ANY(CAST(:payment_ids AS uuid[]))
    ORDER BY e.journal_id, e.line LIMIT :limit
"""
# A payout takes entries of many payments; it stands below the first of those that are shown.
_PAYOUTS = """
    SELECT 'payout' AS kind, t.id::text AS id, 'payment' AS parent_kind,
           (SELECT min(j.payment_id::text) FROM payout_entries x JOIN journals j ON j.id = x.journal_id
            WHERE x.payout_id = t.id AND j.payment_id = ANY(CAST(:payment_ids AS uuid[]))) AS parent_id,
           t.created_at AS at,
           jsonb_build_object('status', t.status, 'amount_minor', t.amount_minor, 'currency', t.currency,
               'carried_minor', t.carried_minor, 'reversed_minor', t.reversed_minor, 'seller_id', t.seller_id,
               'stripe_account_id', t.stripe_account_id, 'origin', t.origin, 'failure_code', t.failure_code,
               'idempotency_key', t.idempotency_key, 'request_id', t.request_id,
               'traceparent', t.traceparent) AS facts
    FROM payouts t WHERE t.id = ANY(CAST(:payout_ids AS uuid[]))
    ORDER BY t.id LIMIT :limit
"""
_TRANSFERS = """
    SELECT 'transfer' AS kind, t.stripe_transfer_id AS id, 'payout' AS parent_kind, t.id::text AS parent_id,
           coalesce(t.first_sent_at, t.created_at) AS at, '{}'::jsonb AS facts
    FROM payouts t WHERE t.id = ANY(CAST(:payout_ids AS uuid[])) AND t.stripe_transfer_id IS NOT NULL
    ORDER BY t.id LIMIT :limit
"""
_STRIPE_PAYOUTS = """
    SELECT 'stripe_payout' AS kind, t.stripe_payout_id AS id, 'transfer' AS parent_kind,
           t.stripe_transfer_id AS parent_id, t.updated_at AS at, '{}'::jsonb AS facts
    FROM payouts t WHERE t.id = ANY(CAST(:payout_ids AS uuid[])) AND t.stripe_payout_id IS NOT NULL
    ORDER BY t.id LIMIT :limit
"""
_PAYOUT_REVERSALS = """
    SELECT 'payout_reversal' AS kind, r.id::text AS id, 'payout' AS parent_kind, r.payout_id::text AS parent_id,
           r.created_at AS at,
           jsonb_build_object('status', r.status, 'amount_minor', r.amount_minor, 'currency', r.currency,
               'for_entry', r.journal_id::text || ':' || r.line, 'for_payment_id', r.payment_id,
               'failure_code', r.failure_code) AS facts
    FROM payout_reversals r WHERE r.payout_id = ANY(CAST(:payout_ids AS uuid[]))
    ORDER BY r.payout_id, r.id LIMIT :limit
"""
_TRANSFER_REVERSALS = """
    SELECT 'transfer_reversal' AS kind, r.stripe_reversal_id AS id, 'payout_reversal' AS parent_kind,
           r.id::text AS parent_id, coalesce(r.first_sent_at, r.created_at) AS at, '{}'::jsonb AS facts
    FROM payout_reversals r
    WHERE r.payout_id = ANY(CAST(:payout_ids AS uuid[])) AND r.stripe_reversal_id IS NOT NULL
    ORDER BY r.payout_id, r.id LIMIT :limit
"""
_MOVED_OUT = """
    SELECT j.*, 'transfer' AS cause FROM payouts t
    JOIN journals j ON j.kind = 'payout' AND j.source = t.stripe_transfer_id
    WHERE t.id = ANY(CAST(:payout_ids AS uuid[]))
    UNION ALL
    SELECT j.*, 'transfer_reversal' FROM payout_reversals r
    JOIN journals j ON j.kind = 'payout_reversed' AND j.source = r.stripe_reversal_id
    WHERE r.payout_id = ANY(CAST(:payout_ids AS uuid[]))
"""
_PAYOUT_JOURNALS = f"""
    SELECT 'journal' AS kind, j.id::text AS id, j.cause AS parent_kind, j.source AS parent_id,
           j.created_at AS at,
           jsonb_build_object('kind', j.kind, 'source', j.source, 'currency', j.currency) AS facts
    FROM ({_MOVED_OUT}) AS j ORDER BY j.id LIMIT :limit
"""
_PAYOUT_ENTRIES = f"""{_ENTRIES_OF}
    FROM ({_MOVED_OUT}) AS j JOIN entries e ON e.journal_id = j.id
    ORDER BY e.journal_id, e.line LIMIT :limit
"""
_EVENTS = """
    SELECT 'event' AS kind, e.id::text AS id,
           CASE WHEN e.subject_id = ANY(CAST(:payment_ids AS uuid[])) THEN 'payment'
                WHEN e.subject_id = ANY(CAST(:payout_ids AS uuid[])) THEN 'payout' ELSE 'order' END
               AS parent_kind,
           e.subject_id::text AS parent_id, e.created_at AS at,
           jsonb_build_object('type', e.type, 'position', e.position, 'data', e.data) AS facts
    FROM events e
    WHERE e.subject_id = ANY(
        CAST(:payment_ids AS uuid[]) || CAST(:order_ids AS uuid[]) || CAST(:payout_ids AS uuid[]))
    ORDER BY e.position LIMIT :limit
"""
# By the endpoints of those whom an event concerns, and those that hear everything: there is no index by event. One
# that is disabled or deleted by now was told nevertheless.
_DELIVERIES = """
    SELECT 'delivery' AS kind, d.id::text AS id, 'event' AS parent_kind, d.event_id::text AS parent_id,
           d.created_at AS at,
           jsonb_build_object('status', d.status, 'endpoint_id', d.endpoint_id, 'attempts', d.attempts,
               'last_attempt_at', a.at, 'response_status', a.response_status, 'error', a.error) AS facts
    FROM events e
    CROSS JOIN LATERAL (
        SELECT w.id FROM webhook_endpoints w WHERE w.owner_id = ANY(e.audience)
        UNION
        SELECT w.id FROM webhook_endpoints w WHERE w.sees_all
    ) AS heard
    JOIN deliveries d ON d.endpoint_id = heard.id AND d.event_id = e.id
    LEFT JOIN LATERAL (
        SELECT l.at, l.response_status, l.error FROM delivery_attempts l
        WHERE l.delivery_id = d.id ORDER BY l.number DESC LIMIT 1
    ) AS a ON true
    WHERE e.subject_id = ANY(
        CAST(:payment_ids AS uuid[]) || CAST(:order_ids AS uuid[]) || CAST(:payout_ids AS uuid[]))
    ORDER BY e.position, d.id LIMIT :limit
"""
_OTHER_ENTRIES = f"""{_ENTRIES_OF}
    FROM journals j JOIN entries e ON e.journal_id = j.id
    WHERE j.id = ANY(CAST(:journal_ids AS uuid[]))
    ORDER BY e.journal_id, e.line LIMIT :limit
"""
NODES = [
    Sql(statement)
    for statement in (
        _ORDERS,
        _REQUESTS,
        _PAYMENTS,
        _INTENTS,
        _CHARGES,
        _REFUNDS,
        _STRIPE_REFUNDS,
        _DISPUTES,
        _STRIPE_DISPUTES,
        _LINES,
        _BALANCE_TRANSACTIONS,
        _EXCEPTIONS,
        _PAYOUTS,
        _TRANSFERS,
        _STRIPE_PAYOUTS,
        _OWN_PAYOUTS,
        _PAYOUT_REVERSALS,
        _TRANSFER_REVERSALS,
        _PAYOUT_JOURNALS,  # before the payments' own: where a thing is told twice, the first place is its
        _PAYOUT_ENTRIES,
        _JOURNALS,
        _ENTRIES,
        _OTHER_JOURNALS,
        _OTHER_ENTRIES,
        _EVENTS,
        _DELIVERIES,
    )
]
