"""An order is shipped when each of its sellers has shipped, or has been left nothing to ship for.

A seller whose lines were refunded would otherwise hold back what its fellow sellers are owed, for ever.
"""

from alembic import op

revision = "shipped_or_refunded"
down_revision = "entries_by_transaction"


def upgrade() -> None:
    # The domain alone knows what a partial capture left of each line; here it counts that something went back.
    op.execute(
        """
        CREATE OR REPLACE FUNCTION refuse_half_shipped_order() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM FROM order_lines l
            WHERE l.order_id = NEW.id
                AND NOT EXISTS (
                    SELECT FROM shipments s WHERE s.order_id = l.order_id AND s.seller_id = l.seller_id)
                AND NOT EXISTS (
                    SELECT FROM payments p
                    JOIN refunds r ON r.payment_id = p.id AND r.status = 'succeeded'
                    JOIN refund_lines f ON f.refund_id = r.id AND f.seller_id = l.seller_id
                    WHERE p.order_id = l.order_id);
            IF FOUND THEN
                RAISE EXCEPTION 'order % is not shipped: a seller has yet to ship', NEW.id
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END $$;
        """
    )
