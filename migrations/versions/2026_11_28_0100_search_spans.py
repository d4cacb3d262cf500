"""A search covers spans of positions that it chooses as it goes, no longer a fixed series of blocks (ADR 0007)."""

from alembic import op

revision = "search_spans"
down_revision = "webhook_deliveries"


def upgrade() -> None:
    op.execute("DROP FUNCTION product_blocks(bigint, bigint)")
