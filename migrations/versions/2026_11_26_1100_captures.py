"""What somebody asked to become of a payment that is authorized or waits: its capture, or its cancellation."""

from alembic import op

revision = "captures"
down_revision = "refunds"


def upgrade() -> None:
    op.execute(
        """
        -- PERF: both stay as they are in a payment that is captured at once.
        ALTER TABLE payments
            ADD COLUMN capture_minor bigint,
            ADD COLUMN cancel_requested boolean NOT NULL DEFAULT false,
            ADD CONSTRAINT payments_one_wish CHECK (capture_minor IS NULL OR NOT cancel_requested) NOT VALID,
            ADD CONSTRAINT payments_capture_wish
                CHECK (capture_minor IS NULL OR (capture_minor BETWEEN 1 AND amount_minor AND capture = 'manual'))
                NOT VALID;
        ALTER TABLE payments VALIDATE CONSTRAINT payments_one_wish;
        ALTER TABLE payments VALIDATE CONSTRAINT payments_capture_wish;
        GRANT UPDATE (capture_minor, cancel_requested) ON payments TO marketflow_app;
        """
    )
