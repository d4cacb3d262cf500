"""Sellers' own commissions can be set: by the application, and nothing else of a seller."""

from alembic import op

revision = "seller_commissions"
down_revision = "payout_reversals"


def upgrade() -> None:
    op.execute("GRANT UPDATE (commission_bps) ON sellers TO marketflow_app")
