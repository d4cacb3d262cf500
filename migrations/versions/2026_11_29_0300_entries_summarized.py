"""The block ranges of entries are summarized as they fill, not at the next vacuum, or each fold reads them all."""

from alembic import op

revision = "entries_summarized"
down_revision = "payout_runs"


def upgrade() -> None:
    op.execute("ALTER INDEX entries_transaction_id_idx SET (autosummarize = on)")
