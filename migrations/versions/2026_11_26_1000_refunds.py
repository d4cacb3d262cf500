"""Refunds that are asked for, by line; never above what was captured, whoever writes them."""

from alembic import op

revision = "refunds"
down_revision = "sessions"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE refunds
            ADD COLUMN origin text NOT NULL DEFAULT 'late_success'
                CONSTRAINT refunds_origin_check CHECK (origin IN ('requested', 'late_success', 'external')),
            ADD COLUMN requested_by uuid REFERENCES users (id),
            ADD COLUMN idempotency_key text CHECK (length(idempotency_key) BETWEEN 1 AND 255),
            ADD COLUMN request_hash bytea CHECK (length(request_hash) = 32),
            ADD COLUMN failure_code text,
            ADD COLUMN is_booked boolean NOT NULL DEFAULT false,
            ADD COLUMN key_number integer NOT NULL DEFAULT 0 CHECK (key_number >= 0),
            ADD COLUMN first_sent_at timestamptz,
            ADD COLUMN key_burnt_at timestamptz,
            ADD COLUMN quarantined_at timestamptz,
            ADD COLUMN quarantine_reason text,
            ADD CONSTRAINT refunds_requested_by_idempotency_key_key UNIQUE (requested_by, idempotency_key),
            ADD CONSTRAINT refunds_requested_by_somebody CHECK (
                (origin = 'requested') = (requested_by IS NOT NULL)
                AND (requested_by IS NULL) = (idempotency_key IS NULL)
                AND (requested_by IS NULL) = (request_hash IS NULL)),
            DROP CONSTRAINT refunds_reason_check,
            ADD CONSTRAINT refunds_reason_check CHECK (length(reason) BETWEEN 1 AND 500);
        -- A worker of the version before sends late successes alone, and books what succeeded without saying so.
        UPDATE refunds SET is_booked = true WHERE status = 'succeeded';
        ALTER TABLE refunds ADD CONSTRAINT refunds_failed_is_not_booked
            CHECK (status <> 'failed' OR NOT is_booked);
        DROP INDEX refunds_one_late_success;
        CREATE UNIQUE INDEX refunds_one_late_success ON refunds (payment_id) WHERE origin = 'late_success';
        CREATE INDEX refunds_payment_id_idx ON refunds (payment_id, id);
        CREATE TRIGGER refunds_stay BEFORE DELETE OR TRUNCATE ON refunds
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
        INSERT INTO legal_transitions (machine, from_status, to_status) VALUES ('refunds', 'succeeded', 'failed');

        -- What goes back of each line. It comes with its refund, in one statement, and adds up to it.
        CREATE TABLE refund_lines (
            refund_id uuid NOT NULL REFERENCES refunds (id),
            line smallint NOT NULL CHECK (line > 0),
            seller_id uuid NOT NULL REFERENCES sellers (user_id),
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            commission_minor bigint NOT NULL,
            PRIMARY KEY (refund_id, line),
            CONSTRAINT refund_lines_commission CHECK (commission_minor BETWEEN 0 AND amount_minor)
        );
        CREATE INDEX refund_lines_seller_id_idx ON refund_lines (seller_id, refund_id);
        CREATE FUNCTION refuse_wrong_refund_sum() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            bad uuid;
        BEGIN
            SELECT r.id INTO bad
            FROM refunds r JOIN refund_lines l ON l.refund_id = r.id
            WHERE r.id IN (SELECT refund_id FROM new_rows)
            GROUP BY r.id
            HAVING sum(l.amount_minor) <> r.amount_minor
            LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION 'refund %: its lines do not add up to its amount', bad
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER refund_lines_sum AFTER INSERT ON refund_lines
            REFERENCING NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_wrong_refund_sum();
        CREATE TRIGGER refund_lines_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON refund_lines
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

        -- What of a payment went back or is on its way: the sum of its refunds that have not failed. Triggers
        -- alone write it, as the owner, and lock the payment by it, so the CHECK holds whatever runs at once and
        -- whoever writes.
        ALTER TABLE payments ADD COLUMN refunded_minor bigint NOT NULL DEFAULT 0;
        UPDATE payments p SET refunded_minor = r.amount_minor
        FROM refunds r WHERE r.payment_id = p.id AND r.status <> 'failed';
        ALTER TABLE payments ADD CONSTRAINT payments_refunded
            CHECK (refunded_minor BETWEEN 0 AND captured_minor);
        CREATE FUNCTION count_new_refunds() RETURNS trigger
            LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
        BEGIN
            UPDATE payments p SET refunded_minor = p.refunded_minor + n.amount_minor
            FROM (SELECT payment_id, sum(amount_minor) AS amount_minor FROM new_rows GROUP BY payment_id) AS n
            WHERE p.id = n.payment_id;
            RETURN NULL;
        END $$;
        CREATE FUNCTION count_changed_refunds() RETURNS trigger
            LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
        BEGIN
            UPDATE payments p SET refunded_minor = p.refunded_minor + n.change_minor
            FROM (
                SELECT payment_id, sum(change_minor) AS change_minor
                FROM (
                    SELECT payment_id, amount_minor AS change_minor FROM new_rows WHERE status <> 'failed'
                    UNION ALL
                    SELECT payment_id, -amount_minor FROM old_rows WHERE status <> 'failed'
                ) AS changes
                GROUP BY payment_id HAVING sum(change_minor) <> 0
            ) AS n
            WHERE p.id = n.payment_id;
            RETURN NULL;
        END $$;
        REVOKE EXECUTE ON FUNCTION count_new_refunds, count_changed_refunds FROM PUBLIC;
        CREATE TRIGGER refunds_count_new AFTER INSERT ON refunds
            REFERENCING NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION count_new_refunds();
        CREATE TRIGGER refunds_count_changed AFTER UPDATE ON refunds
            REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION count_changed_refunds();

        -- Where an order returns to that is disputed, or whose money did not go back after all.
        ALTER TABLE orders ADD COLUMN resumes_as text CHECK (resumes_as IN ('paid', 'shipped', 'completed'));
        CREATE FUNCTION remember_interrupted_order() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.resumes_as = CASE
                WHEN NEW.status NOT IN ('disputed', 'refunded') THEN NULL
                WHEN OLD.status IN ('paid', 'shipped', 'completed') THEN OLD.status
                ELSE OLD.resumes_as
            END;
            RETURN NEW;
        END $$;
        CREATE TRIGGER orders_remember_interruption BEFORE UPDATE ON orders
            FOR EACH ROW WHEN (OLD.status IN ('disputed', 'refunded') OR NEW.status IN ('disputed', 'refunded'))
            EXECUTE FUNCTION remember_interrupted_order();
        INSERT INTO legal_transitions (machine, from_status, to_status)
        SELECT 'orders', 'refunded', unnest(ARRAY['paid', 'shipped', 'completed']);

        ALTER TABLE journals DROP CONSTRAINT journals_kind_check;
        ALTER TABLE journals ADD CONSTRAINT journals_kind_check CHECK (kind IN (
            'charge', 'stripe_fee', 'refund', 'refund_failed', 'unapplied_charge', 'unapplied_refund')) NOT VALID;
        ALTER TABLE journals VALIDATE CONSTRAINT journals_kind_check;

        GRANT SELECT, INSERT ON refund_lines TO marketflow_app;
        GRANT UPDATE (
            failure_code, is_booked, key_number, first_sent_at, key_burnt_at, quarantined_at, quarantine_reason
        ) ON refunds TO marketflow_app;
        """
    )
