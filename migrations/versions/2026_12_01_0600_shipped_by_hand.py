"""What a seller sends may have no carrier and no number by which it can be followed."""

from alembic import op

revision = "shipped_by_hand"
down_revision = "older_secrets"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE shipments
            ALTER COLUMN carrier DROP NOT NULL,
            ALTER COLUMN tracking_number DROP NOT NULL;
        """
    )
