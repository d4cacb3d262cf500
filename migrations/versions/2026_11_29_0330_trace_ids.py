"""Traces begin at idempotency keys, at request ids that callers brought, and at what Stripe lists in a payout."""

from alembic import op

revision = "trace_ids"
down_revision = "netted_entries"

# PERF: a key alone finds its rows when it comes first, and the same index still keeps it unique for its owner. So
# accepting writes as many indexes as before.
_KEYS = {
    "payments": "payer_id",
    "orders": "buyer_id",
    "refunds": "requested_by",
    "payouts": "requested_by",
}
# PERF: ids that we make, UUIDv7 in hex, are found by their time. Only those that callers brought are indexed.
_BROUGHT = """
    type = 'payment.accepted'
    AND (length(data ->> 'request_id') <> 32 OR substr(data ->> 'request_id', 13, 1) <> '7')
"""


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET statement_timeout = 0")
        for table, owner in _KEYS.items():
            constraint = f"{table}_{owner}_idempotency_key_key"
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {table}_idempotency_key_first")
            op.execute(
                f"""
                CREATE UNIQUE INDEX CONCURRENTLY {table}_idempotency_key_first
                    ON {table} (idempotency_key, {owner})
                """
            )
            op.execute(
                f"""
                ALTER TABLE {table} DROP CONSTRAINT {constraint},
                    ADD CONSTRAINT {constraint} UNIQUE USING INDEX {table}_idempotency_key_first
                """
            )
        for name, place in {
            "events_brought_request_id_idx": f"events ((data ->> 'request_id')) WHERE {_BROUGHT}",
            "stripe_transactions_payout_id_idx": "stripe_transactions (payout_id, id) WHERE payout_id IS NOT NULL",
            "reconciliation_exceptions_key_idx": "reconciliation_exceptions (key)",
            "reconciliation_exceptions_payment_id_idx": "reconciliation_exceptions (payment_id) "
            "WHERE payment_id IS NOT NULL",
        }.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {place}")
        op.execute("SET statement_timeout = '60s'")
