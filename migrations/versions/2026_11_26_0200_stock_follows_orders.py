"""Stock follows the orders: a line takes its pieces, an order that ends unpaid gives them back."""

from alembic import op

revision = "stock"
down_revision = "0007"


def upgrade() -> None:
    op.execute(
        """
        -- What the lines of an order take. CHECK (stock >= 0) of products refuses what is not there. Products are
        -- locked last of all, sorted by id, here and below, so that no two transactions wait for each other.
        CREATE FUNCTION take_stock() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM FROM products WHERE id IN (SELECT product_id FROM new_rows)
                ORDER BY id FOR NO KEY UPDATE;
            UPDATE products p SET stock = p.stock - taken.quantity
            FROM (SELECT product_id, sum(quantity) AS quantity FROM new_rows GROUP BY product_id) AS taken
            WHERE p.id = taken.product_id;
            RETURN NULL;
        END $$;
        CREATE TRIGGER order_lines_take_stock AFTER INSERT ON order_lines
            REFERENCING NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION take_stock();

        -- A paid order keeps what it took: paying touches no product. An order ends unpaid once, since no step
        -- leads on from there, and so gives back once.
        CREATE FUNCTION give_stock_back() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            -- PERF: settling passes here with every batch, and ends no order.
            IF NOT EXISTS (SELECT FROM new_rows WHERE status IN ('cancelled', 'expired')) THEN
                RETURN NULL;
            END IF;
            PERFORM FROM products
                WHERE id IN (
                    SELECT l.product_id FROM order_lines l JOIN new_rows n ON n.id = l.order_id
                    WHERE n.status IN ('cancelled', 'expired'))
                ORDER BY id FOR NO KEY UPDATE;
            UPDATE products p SET stock = p.stock + given.quantity
            FROM (
                SELECT l.product_id, sum(l.quantity) AS quantity
                FROM new_rows n JOIN old_rows o USING (id) JOIN order_lines l ON l.order_id = n.id
                WHERE n.status IN ('cancelled', 'expired') AND o.status = 'pending'
                GROUP BY l.product_id
            ) AS given
            WHERE p.id = given.product_id;
            RETURN NULL;
        END $$;
        CREATE TRIGGER orders_give_stock_back AFTER UPDATE ON orders
            REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION give_stock_back();

        GRANT UPDATE (stock) ON products TO marketflow_app;

        -- Orders that were open before take theirs now, as far as it is there.
        UPDATE products p SET stock = greatest(p.stock - taken.quantity, 0)
        FROM (
            SELECT l.product_id, sum(l.quantity) AS quantity
            FROM order_lines l JOIN orders o ON o.id = l.order_id
            WHERE o.status = 'pending'
            GROUP BY l.product_id
        ) AS taken
        WHERE p.id = taken.product_id;
        """
    )
