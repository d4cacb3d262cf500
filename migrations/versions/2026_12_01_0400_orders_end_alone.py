"""An order does not end while somebody who has not locked it adds a payment, and takes none while it ends.

Each of two transactions saw the order, or its payments, as they were before the other: both were committed, and a
payment was charged for an order that was cancelled. What inserts a payment holds its order's key, by the foreign
key; so whoever ends an order takes all of the row, and waits for those or lets them wait.
"""

from alembic import op

revision = "orders_end_alone"
down_revision = "seals_end_at_records"


def upgrade() -> None:
    op.execute(
        """
        CREATE FUNCTION wait_for_payments_of_ending_order() RETURNS trigger LANGUAGE plpgsql
            SET search_path = public, pg_temp AS $$
        BEGIN
            PERFORM FROM orders WHERE id = NEW.id FOR UPDATE;
            RETURN NULL;
        END $$;
        -- Triggers of rows come before those of statements: orders_agree_with_payments looks afterwards.
        CREATE TRIGGER orders_end_alone AFTER UPDATE ON orders
            FOR EACH ROW WHEN (OLD.status = 'pending' AND NEW.status IN ('cancelled', 'expired'))
            EXECUTE FUNCTION wait_for_payments_of_ending_order();
        """
    )
