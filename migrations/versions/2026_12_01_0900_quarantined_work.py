"""Refunds, payouts, reversals and Stripe's events in quarantine are found without reading all of them.

So that somebody is told of them: they are due to nobody, and the age of what is due does not tell. The indexes are
nearly empty, and cost nothing.
"""

from alembic import op

revision = "quarantined_work"
down_revision = "taken_from_whom_it_concerns"

_INDEXES = {
    "refunds_quarantined_at_idx": "refunds (quarantined_at) WHERE quarantined_at IS NOT NULL",
    "payouts_quarantined_at_idx": "payouts (quarantined_at) WHERE quarantined_at IS NOT NULL",
    "payout_reversals_quarantined_at_idx": "payout_reversals (quarantined_at) WHERE quarantined_at IS NOT NULL",
    "stripe_events_quarantined_idx": "stripe_events (handled_at) WHERE status = 'quarantined'",
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET statement_timeout = 0")
        for name, rows in _INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {rows}")
        op.execute("SET statement_timeout = '60s'")
