"""A seller whose refund failed ships of an order that went on without it, which does not complete before.

It would otherwise be paid for what it could not send.
"""

from alembic import op

revision = "shipped_after_failed_refunds"
down_revision = "shipped_or_refunded"


def upgrade() -> None:
    op.execute(
        """
        -- A seller ships its own lines, of an order that is paid and stays so meanwhile, or that went on without
        -- it because of a refund that failed after all.
        CREATE OR REPLACE FUNCTION refuse_wrong_shipment() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM FROM orders o
            WHERE o.id = NEW.order_id AND (o.status = 'paid' OR (o.status IN ('shipped', 'completed') AND EXISTS (
                SELECT FROM payments p
                JOIN refunds r ON r.payment_id = p.id AND r.status = 'failed'
                JOIN refund_lines f ON f.refund_id = r.id AND f.seller_id = NEW.seller_id
                WHERE p.order_id = o.id)))
            FOR SHARE OF o;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'order % is not paid, and no refund of it failed: nothing of it is shipped',
                    NEW.order_id USING ERRCODE = 'check_violation';
            END IF;
            PERFORM FROM order_lines WHERE order_id = NEW.order_id AND seller_id = NEW.seller_id;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'order % has no line of seller %', NEW.order_id, NEW.seller_id
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NEW;
        END $$;

        -- An order completes when it is shipped, which it is no longer when such a refund has failed.
        CREATE OR REPLACE TRIGGER orders_ship_whole AFTER UPDATE ON orders
            FOR EACH ROW WHEN ((OLD.status = 'paid' AND NEW.status = 'shipped')
                OR (OLD.status = 'shipped' AND NEW.status = 'completed'))
            EXECUTE FUNCTION refuse_half_shipped_order();
        """
    )
