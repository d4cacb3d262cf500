"""Refunds, payouts and onboardings remember their requests as payments do; a payment, the last one about it.

So the logs of whoever works at them bear the id of the request that asked for it.
"""

from alembic import op

revision = "request_ids_of_actions"
down_revision = "accounts_by_uuid"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE refunds ADD COLUMN request_id text;
        ALTER TABLE payouts ADD COLUMN request_id text;
        ALTER TABLE seller_accounts ADD COLUMN request_id text;
        GRANT UPDATE (request_id) ON payments, seller_accounts TO marketflow_app;
        """
    )
