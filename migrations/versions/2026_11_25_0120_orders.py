"""Orders with their lines."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE orders (
            id uuid PRIMARY KEY,
            buyer_id uuid NOT NULL REFERENCES users (id),
            status text NOT NULL CHECK (status IN (
                'pending', 'paid', 'shipped', 'completed', 'cancelled', 'expired', 'refunded', 'disputed')),
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            idempotency_key text NOT NULL CHECK (length(idempotency_key) BETWEEN 1 AND 255),
            request_hash bytea NOT NULL CHECK (length(request_hash) = 32),
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            CONSTRAINT orders_buyer_id_idempotency_key_key UNIQUE (buyer_id, idempotency_key)
        );
        CREATE INDEX orders_buyer_id_idx ON orders (buyer_id, id);

        CREATE TABLE order_lines (
            order_id uuid NOT NULL REFERENCES orders (id),
            line smallint NOT NULL CHECK (line > 0),
            product_id uuid NOT NULL REFERENCES products (id),
            seller_id uuid NOT NULL REFERENCES sellers (user_id),
            quantity integer NOT NULL CHECK (quantity > 0),
            price_minor bigint NOT NULL CHECK (price_minor > 0),
            commission_bps integer NOT NULL CHECK (commission_bps BETWEEN 0 AND 10000),
            PRIMARY KEY (order_id, line)
        );
        CREATE INDEX order_lines_seller_id_idx ON order_lines (seller_id, order_id);

        -- The lines of an order go in by one statement, add up to its amount, and stay as they are.
        CREATE FUNCTION refuse_wrong_order_sum() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            bad uuid;
        BEGIN
            SELECT o.id INTO bad
            FROM orders o JOIN order_lines l ON l.order_id = o.id
            WHERE o.id IN (SELECT order_id FROM new_rows)
            GROUP BY o.id
            HAVING sum(l.quantity * l.price_minor) <> o.amount_minor
            LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION 'order %: its lines do not add up to its amount', bad
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER order_lines_sum AFTER INSERT ON order_lines
            REFERENCING NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_wrong_order_sum();
        CREATE TRIGGER order_lines_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON order_lines
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

        CREATE TRIGGER orders_start BEFORE INSERT ON orders
            FOR EACH ROW WHEN (NEW.status <> 'pending') EXECUTE FUNCTION refuse_late_start();
        CREATE TRIGGER orders_transitions AFTER UPDATE ON orders
            REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_illegal_transition();

        GRANT SELECT, INSERT ON orders, order_lines TO marketflow_app;
        GRANT UPDATE (status, updated_at) ON orders TO marketflow_app;
        """
    )
