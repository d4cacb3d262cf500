"""Payments in quarantine are found without reading all payments. The index is nearly empty, and costs nothing."""

from alembic import op

revision = "quarantined_payments"
down_revision = "trace_ids"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET statement_timeout = 0")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS payments_quarantined_at_idx")
        op.execute(
            """
            CREATE INDEX CONCURRENTLY payments_quarantined_at_idx ON payments (quarantined_at)
                WHERE quarantined_at IS NOT NULL
            """
        )
        op.execute("SET statement_timeout = '60s'")
