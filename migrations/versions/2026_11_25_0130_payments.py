"""Payments: rows that are promises to clients, work for the workers, and the guard of their orders."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE payments (
            id uuid PRIMARY KEY,
            payer_id uuid NOT NULL REFERENCES users (id),
            order_id uuid REFERENCES orders (id),
            seller_id uuid REFERENCES sellers (user_id),
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            commission_bps integer CHECK (commission_bps BETWEEN 0 AND 10000),
            payment_method text NOT NULL CHECK (length(payment_method) BETWEEN 1 AND 255),
            capture text NOT NULL CHECK (capture IN ('automatic', 'manual')),
            status text NOT NULL CHECK (status IN (
                'pending', 'processing', 'requires_action', 'requires_capture', 'unknown',
                'succeeded', 'failed', 'canceled')),
            failure_code text,
            client_secret text,
            stripe_intent_id text,
            stripe_charge_id text,
            captured_minor bigint NOT NULL DEFAULT 0,
            fee_minor bigint CHECK (fee_minor >= 0),
            idempotency_key text NOT NULL CHECK (length(idempotency_key) BETWEEN 1 AND 255),
            request_hash bytea NOT NULL CHECK (length(request_hash) = 32),
            traceparent text,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            -- Work: due_at says when the row wants to be looked at, NULL that nothing is left to do;
            -- publish_at when the sweeper may announce it; locked_until who looks at it now, until when.
            attempts integer NOT NULL DEFAULT 0,
            first_charged_at timestamptz,
            lookup_only boolean NOT NULL DEFAULT false,
            due_at timestamptz,
            publish_at timestamptz,
            locked_until timestamptz,
            quarantined_at timestamptz,
            quarantine_reason text,
            CONSTRAINT payments_payer_id_idempotency_key_key UNIQUE (payer_id, idempotency_key),
            CONSTRAINT payments_order_or_seller CHECK ((order_id IS NULL) <> (seller_id IS NULL)),
            CONSTRAINT payments_direct_terms CHECK ((seller_id IS NULL) = (commission_bps IS NULL)),
            CONSTRAINT payments_captured CHECK (captured_minor BETWEEN 0 AND amount_minor),
            CONSTRAINT payments_succeeded_is_captured CHECK (status <> 'succeeded' OR captured_minor > 0),
            CONSTRAINT payments_failed_says_why CHECK (status <> 'failed' OR failure_code IS NOT NULL),
            CONSTRAINT payments_publish_when_due CHECK ((due_at IS NULL) = (publish_at IS NULL))
        );
        CREATE UNIQUE INDEX payments_one_live_per_order ON payments (order_id)
            WHERE status NOT IN ('failed', 'canceled');
        CREATE INDEX payments_order_id_idx ON payments (order_id) WHERE order_id IS NOT NULL;
        CREATE INDEX payments_payer_id_idx ON payments (payer_id, id);
        CREATE INDEX payments_seller_id_idx ON payments (seller_id, id) WHERE seller_id IS NOT NULL;
        CREATE INDEX payments_publish_at_idx ON payments (publish_at) WHERE publish_at IS NOT NULL;

        CREATE TRIGGER payments_start BEFORE INSERT ON payments
            FOR EACH ROW WHEN (NEW.status <> 'pending') EXECUTE FUNCTION refuse_late_start();
        CREATE TRIGGER payments_transitions AFTER UPDATE ON payments
            REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_illegal_transition();

        -- Payments are made for pending orders alone.
        CREATE FUNCTION refuse_unpayable_order() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            bad record;
        BEGIN
            SELECT o.id, o.status INTO bad
            FROM new_rows n JOIN orders o ON o.id = n.order_id
            WHERE o.status <> 'pending'
            LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION 'order % is %: it takes no payment', bad.id, bad.status
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER payments_order_is_payable AFTER INSERT ON payments
            REFERENCING NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_unpayable_order();

        -- An order is paid by a captured payment, and does not end while a payment of it is alive.
        CREATE FUNCTION refuse_order_against_payments() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            bad record;
        BEGIN
            SELECT n.id, n.status INTO bad
            FROM new_rows n JOIN old_rows o USING (id)
            WHERE o.status = 'pending' AND (
                (n.status = 'paid' AND NOT EXISTS (
                    SELECT FROM payments p WHERE p.order_id = n.id AND p.status = 'succeeded'))
                OR (n.status IN ('cancelled', 'expired') AND EXISTS (
                    SELECT FROM payments p
                    WHERE p.order_id = n.id AND p.status NOT IN ('failed', 'canceled')))
            )
            LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION 'order % cannot become %: its payments say otherwise', bad.id, bad.status
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER orders_agree_with_payments AFTER UPDATE ON orders
            REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_order_against_payments();

        GRANT SELECT, INSERT ON payments TO marketflow_app;
        GRANT UPDATE (
            status, failure_code, client_secret, stripe_intent_id, stripe_charge_id, captured_minor, fee_minor,
            updated_at, attempts, first_charged_at, lookup_only, due_at, publish_at, locked_until,
            quarantined_at, quarantine_reason
        ) ON payments TO marketflow_app;
        """
    )
