"""Refunds, payouts and onboardings remember the trace of the request that asked for them, as payments do.

So what a worker does for one hangs in that trace. A capture or a cancellation stays in the trace of its payment.
"""

from alembic import op

revision = "traceparents_of_actions"
down_revision = "request_ids_of_actions"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE refunds ADD COLUMN traceparent text;
        ALTER TABLE payouts ADD COLUMN traceparent text;
        ALTER TABLE seller_accounts ADD COLUMN traceparent text;
        GRANT UPDATE (traceparent) ON seller_accounts TO marketflow_app;
        """
    )
