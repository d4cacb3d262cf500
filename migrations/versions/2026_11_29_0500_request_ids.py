"""A payment remembers the id of the request that made it, so that the logs of whoever works at it can bear it."""

from alembic import op

revision = "request_ids"
down_revision = "quarantined_payments"


def upgrade() -> None:
    op.execute("ALTER TABLE payments ADD COLUMN request_id text")
