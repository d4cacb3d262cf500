"""The sellers' accounts at Stripe: how far their onboarding is, and whether they can be paid out."""

from alembic import op

revision = "seller_accounts"
down_revision = "traces"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE seller_accounts (
            seller_id uuid PRIMARY KEY REFERENCES sellers (user_id),
            status text NOT NULL CHECK (status IN ('pending', 'open', 'complete', 'failed')),
            stripe_account_id text CONSTRAINT seller_accounts_stripe_account_id_key UNIQUE,
            payouts_enabled boolean NOT NULL DEFAULT false,
            link text,
            link_expires_at timestamptz,
            failure_code text,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            attempts integer NOT NULL DEFAULT 0,
            due_at timestamptz,
            publish_at timestamptz,
            locked_until timestamptz,
            wakes integer NOT NULL DEFAULT 0,
            key_number integer NOT NULL DEFAULT 0 CHECK (key_number >= 0),
            first_sent_at timestamptz,
            key_burnt_at timestamptz,
            CONSTRAINT seller_accounts_payouts CHECK (
                NOT payouts_enabled OR (stripe_account_id IS NOT NULL AND status = 'complete')),
            CONSTRAINT seller_accounts_complete CHECK (status <> 'complete' OR payouts_enabled),
            CONSTRAINT seller_accounts_open CHECK (status <> 'open' OR stripe_account_id IS NOT NULL),
            CONSTRAINT seller_accounts_link CHECK (
                (link IS NULL) = (link_expires_at IS NULL) AND (link IS NULL OR status = 'open')),
            CONSTRAINT seller_accounts_failure CHECK ((status = 'failed') = (failure_code IS NOT NULL))
        );
        CREATE INDEX seller_accounts_publish_at_idx ON seller_accounts (publish_at) WHERE publish_at IS NOT NULL;
        CREATE TRIGGER seller_accounts_start BEFORE INSERT ON seller_accounts
            FOR EACH ROW WHEN (NEW.status <> 'pending') EXECUTE FUNCTION refuse_late_start();
        CREATE TRIGGER seller_accounts_stay BEFORE DELETE OR TRUNCATE ON seller_accounts
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
        -- A seller has one account at Stripe for ever: money that was sent to another one would be lost to view.
        CREATE FUNCTION refuse_illegal_onboarding() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.seller_id <> OLD.seller_id
                OR (OLD.stripe_account_id IS NOT NULL
                    AND NEW.stripe_account_id IS DISTINCT FROM OLD.stripe_account_id)
                OR (OLD.status <> NEW.status AND NOT EXISTS (
                    SELECT FROM legal_transitions t
                    WHERE t.machine = TG_TABLE_NAME AND t.from_status = OLD.status AND t.to_status = NEW.status))
            THEN
                RAISE EXCEPTION 'seller %: illegal transition of an account from % to %',
                    OLD.seller_id, OLD.status, NEW.status
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER seller_accounts_transitions AFTER UPDATE ON seller_accounts
            FOR EACH ROW EXECUTE FUNCTION refuse_illegal_onboarding();
        INSERT INTO legal_transitions (machine, from_status, to_status) VALUES
            ('seller_accounts', 'pending', 'open'),
            ('seller_accounts', 'pending', 'complete'),
            ('seller_accounts', 'pending', 'failed'),
            ('seller_accounts', 'open', 'pending'),
            ('seller_accounts', 'open', 'complete'),
            ('seller_accounts', 'complete', 'open'),
            ('seller_accounts', 'failed', 'pending'),
            ('seller_accounts', 'failed', 'complete');

        GRANT SELECT, INSERT ON seller_accounts TO marketflow_app;
        GRANT UPDATE (
            status, stripe_account_id, payouts_enabled, link, link_expires_at, failure_code, updated_at, attempts,
            due_at, publish_at, locked_until, wakes, key_number, first_sent_at, key_burnt_at
        ) ON seller_accounts TO marketflow_app;
        """
    )
