"""An index of the webhook endpoints that hear every event, in whatever state they are, for traces.

There are few: those of finance and admins. The table is small, and locked for a moment.
"""

from alembic import op

revision = "endpoints_that_hear_all"
down_revision = "live_payments_of_orders"


def upgrade() -> None:
    op.execute("CREATE INDEX webhook_endpoints_sees_all_idx ON webhook_endpoints (id) WHERE sees_all")
