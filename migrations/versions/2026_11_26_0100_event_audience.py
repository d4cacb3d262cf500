"""Whom an event concerns, and so may be told of it. Events from before concern finance and admin alone."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE events ADD COLUMN audience uuid[] NOT NULL DEFAULT '{}';
        GRANT INSERT (audience) ON events TO marketflow_app;
        """
    )
