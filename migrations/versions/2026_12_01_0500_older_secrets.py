"""A webhook endpoint whose secret is replaced again while the one before still signs keeps both."""

from alembic import op

revision = "older_secrets"
down_revision = "orders_end_alone"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE webhook_endpoints
            ADD COLUMN older_secrets text[] NOT NULL DEFAULT '{}',
            ADD COLUMN older_expires_at timestamptz[] NOT NULL DEFAULT '{}',
            ADD CONSTRAINT webhook_endpoints_older_expire
                CHECK (cardinality(older_secrets) = cardinality(older_expires_at)
                    AND cardinality(older_secrets) <= 7);

        GRANT UPDATE (older_secrets, older_expires_at) ON webhook_endpoints TO marketflow_app;
        """
    )
