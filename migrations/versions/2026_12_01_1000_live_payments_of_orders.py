"""Payments without an order are left out of the index that lets an order have one live payment.

A direct payment has no order to be the one of, but each of its three versions (accepted, leased, settled) was
entered there under NULL.
"""

from alembic import op

revision = "live_payments_of_orders"
down_revision = "quarantined_work"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET statement_timeout = 0")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS payments_one_live_of_order")
        op.execute("""
            CREATE UNIQUE INDEX CONCURRENTLY payments_one_live_of_order ON payments (order_id)
            WHERE order_id IS NOT NULL AND status NOT IN ('failed', 'canceled')
        """)
        op.execute("SET statement_timeout = '60s'")
    # In one transaction: a run that is cut off leaves one of the two, and at no moment none.
    op.execute("DROP INDEX payments_one_live_per_order")
    op.execute("ALTER INDEX payments_one_live_of_order RENAME TO payments_one_live_per_order")
