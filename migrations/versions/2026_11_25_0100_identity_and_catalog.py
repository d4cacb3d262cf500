"""Users, sellers, products, and the application's role, which owns nothing."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute(
        """
        DO $$ BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'marketflow_app') THEN
                CREATE ROLE marketflow_app LOGIN;
            END IF;
        END $$;
        REVOKE CREATE ON SCHEMA public FROM PUBLIC;
        GRANT USAGE ON SCHEMA public TO marketflow_app;

        CREATE TABLE users (
            id uuid PRIMARY KEY,
            email text NOT NULL CONSTRAINT users_email_key UNIQUE
                CHECK (email = lower(email) AND length(email) BETWEEN 3 AND 254),
            password_hash text NOT NULL,
            role text NOT NULL CHECK (role IN ('buyer', 'seller', 'finance', 'admin')),
            created_at timestamptz NOT NULL
        );

        CREATE TABLE sellers (
            user_id uuid PRIMARY KEY REFERENCES users (id),
            commission_bps integer CHECK (commission_bps BETWEEN 0 AND 10000)
        );

        CREATE TABLE products (
            id uuid PRIMARY KEY,
            seller_id uuid NOT NULL REFERENCES sellers (user_id),
            title text NOT NULL CHECK (length(title) BETWEEN 1 AND 200),
            description text NOT NULL CHECK (length(description) <= 10000),
            category text NOT NULL CHECK (length(category) <= 100),
            price_minor bigint NOT NULL CHECK (price_minor > 0),
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            stock integer NOT NULL CHECK (stock >= 0),
            created_at timestamptz NOT NULL
        );
        CREATE INDEX products_seller_id_idx ON products (seller_id, id);

        GRANT SELECT, INSERT ON users, sellers, products TO marketflow_app;
        GRANT UPDATE (password_hash) ON users TO marketflow_app;
        """
    )
