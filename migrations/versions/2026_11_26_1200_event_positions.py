"""The event log is read by position, without missing an event that commits late."""

from alembic import op

revision = "event_positions"
down_revision = "captures"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET statement_timeout = 0")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS events_position_idx")
        op.execute("CREATE UNIQUE INDEX CONCURRENTLY events_position_idx ON events (position)")
        op.execute("SET statement_timeout = '60s'")
    op.execute(
        """
        -- A reader that misses a position waits for the transactions that may still fill it: those with an id
        -- below one that it takes then. So a transaction must have its id before it takes a position.
        CREATE FUNCTION take_transaction_id() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_current_xact_id();
            RETURN NULL;
        END $$;
        CREATE TRIGGER events_take_transaction_id BEFORE INSERT ON events
            FOR EACH STATEMENT EXECUTE FUNCTION take_transaction_id();
        """
    )
