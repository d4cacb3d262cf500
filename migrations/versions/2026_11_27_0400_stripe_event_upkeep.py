"""Stripe's events are found by age: the newest that nobody has tried, and those handled long ago, which may go."""

from alembic import op

revision = "stripe_event_upkeep"
down_revision = "currencies"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET statement_timeout = 0")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS stripe_events_untried_idx")
        op.execute(
            """
            CREATE INDEX CONCURRENTLY stripe_events_untried_idx ON stripe_events (received_at)
                WHERE attempts = 0 AND due_at IS NOT NULL
            """
        )
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS stripe_events_handled_at_idx")
        op.execute(
            """
            CREATE INDEX CONCURRENTLY stripe_events_handled_at_idx ON stripe_events (handled_at)
                WHERE due_at IS NULL
            """
        )
        op.execute("SET statement_timeout = '60s'")
    op.execute(
        """
        -- What still waits for work, or for a person, is never deleted.
        CREATE TRIGGER stripe_events_stay BEFORE DELETE ON stripe_events
            FOR EACH ROW WHEN (OLD.due_at IS NOT NULL OR OLD.status = 'quarantined')
            EXECUTE FUNCTION refuse_change();
        CREATE TRIGGER stripe_events_stay_all BEFORE TRUNCATE ON stripe_events
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
        GRANT DELETE ON stripe_events TO marketflow_app;
        """
    )
