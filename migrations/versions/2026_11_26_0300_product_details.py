"""Products have attributes and images, can be edited, and are withdrawn instead of deleted."""

from alembic import op

revision = "product_details"
down_revision = "order_deadlines"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE products
            ADD COLUMN attributes jsonb NOT NULL DEFAULT '{}' CONSTRAINT products_attributes_check
                CHECK (jsonb_typeof(attributes) = 'object' AND pg_column_size(attributes) <= 65536),
            ADD COLUMN image_urls text[] NOT NULL DEFAULT '{}' CONSTRAINT products_image_urls_check
                CHECK (cardinality(image_urls) <= 10
                       AND (cardinality(image_urls) = 0 OR
                            array_to_string(image_urls, ' ', '-') ~ '^https://[^ ]+( https://[^ ]+)*$')
                       AND length(array_to_string(image_urls, ' ')) <= 20500),
            ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now(),
            ADD COLUMN withdrawn_at timestamptz;
        UPDATE products SET updated_at = created_at;

        -- The owner of a product never changes, nor when it was made; nothing ever leaves the table.
        GRANT UPDATE (title, description, category, price_minor, currency, stock, attributes, image_urls,
                      updated_at, withdrawn_at) ON products TO marketflow_app;
        """
    )
