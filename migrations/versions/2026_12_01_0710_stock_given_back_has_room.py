"""An order ends whatever its product has in stock by then.

A seller who fills its stock up while orders hold it, two thousand times a million pieces, had more coming back
than an integer holds: none of those orders could expire or be cancelled any more, and the sweeps met them again
and again.
"""

from alembic import op

revision = "stock_given_back_has_room"
down_revision = "corrections_stay_small"


def upgrade() -> None:
    # As it was, but for `least`: nobody has so many pieces, so none that exists is lost.
    op.execute(
        """
        CREATE OR REPLACE FUNCTION give_stock_back() RETURNS trigger LANGUAGE plpgsql
            SET search_path = public, pg_temp AS $$
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
            UPDATE products p SET stock = least(p.stock + given.quantity, 2147483647)
            FROM (
                SELECT l.product_id, sum(l.quantity) AS quantity
                FROM new_rows n JOIN old_rows o USING (id) JOIN order_lines l ON l.order_id = n.id
                WHERE n.status IN ('cancelled', 'expired') AND o.status = 'pending'
                GROUP BY l.product_id
            ) AS given
            WHERE p.id = given.product_id;
            RETURN NULL;
        END $$;
        """
    )
