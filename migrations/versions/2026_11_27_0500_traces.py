"""A payment is found by its intent at Stripe."""

from alembic import op

revision = "traces"
down_revision = "stripe_event_upkeep"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET statement_timeout = 0")
        # PERF: accepting and leasing leave the intent NULL, so only the settlement writes to it, about once.
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS payments_stripe_intent_id_idx")
        op.execute(
            """
            CREATE INDEX CONCURRENTLY payments_stripe_intent_id_idx ON payments (stripe_intent_id)
                WHERE stripe_intent_id IS NOT NULL
            """
        )
        op.execute("SET statement_timeout = '60s'")
