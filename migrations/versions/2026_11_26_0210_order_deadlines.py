"""When time takes an order's next step: an unpaid one expires, a shipped one completes."""

from alembic import op

revision = "order_deadlines"
down_revision = "stock"


def upgrade() -> None:
    op.execute(
        """
        -- The index must not speak of the status, nor settling write due_at: the update of an order that is paid
        -- would no longer be heap-only. Whoever finds a paid order due puts its due_at out.
        ALTER TABLE orders ADD COLUMN due_at timestamptz;
        CREATE INDEX orders_due_at_idx ON orders (due_at) WHERE due_at IS NOT NULL;
        GRANT UPDATE (due_at) ON orders TO marketflow_app;
        UPDATE orders SET due_at = now() + interval '1 hour' WHERE status = 'pending';
        """
    )
