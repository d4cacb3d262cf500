"""Shipments: one of each seller of an order, which is shipped when all its sellers have."""

from alembic import op

revision = "shipments"
down_revision = "product_search"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE shipments (
            order_id uuid NOT NULL REFERENCES orders (id),
            seller_id uuid NOT NULL REFERENCES sellers (user_id),
            carrier text NOT NULL CHECK (length(carrier) BETWEEN 1 AND 100),
            tracking_number text NOT NULL CHECK (length(tracking_number) BETWEEN 1 AND 100),
            created_at timestamptz NOT NULL,
            PRIMARY KEY (order_id, seller_id)
        );
        CREATE TRIGGER shipments_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON shipments
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

        -- A seller ships its own lines, of an order that is paid and stays so meanwhile.
        CREATE FUNCTION refuse_wrong_shipment() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM FROM orders WHERE id = NEW.order_id AND status = 'paid' FOR SHARE;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'order % is not paid: nothing of it is shipped', NEW.order_id
                    USING ERRCODE = 'check_violation';
            END IF;
            PERFORM FROM order_lines WHERE order_id = NEW.order_id AND seller_id = NEW.seller_id;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'order % has no line of seller %', NEW.order_id, NEW.seller_id
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER shipments_of_paid_orders BEFORE INSERT ON shipments
            FOR EACH ROW EXECUTE FUNCTION refuse_wrong_shipment();

        -- PERF: for each row, but called for those alone that ship; settling does not come here.
        CREATE FUNCTION refuse_half_shipped_order() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM FROM order_lines l
            WHERE l.order_id = NEW.id AND NOT EXISTS (
                SELECT FROM shipments s WHERE s.order_id = l.order_id AND s.seller_id = l.seller_id);
            IF FOUND THEN
                RAISE EXCEPTION 'order % is not shipped: a seller has yet to ship', NEW.id
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER orders_ship_whole AFTER UPDATE ON orders
            FOR EACH ROW WHEN (OLD.status = 'paid' AND NEW.status = 'shipped')
            EXECUTE FUNCTION refuse_half_shipped_order();

        GRANT SELECT, INSERT ON shipments TO marketflow_app;
        """
    )
