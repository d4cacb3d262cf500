"""Reversals: what is taken back of a payout's transfer, never more than there was."""

from alembic import op

revision = "payout_reversals"
down_revision = "payouts"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE payout_reversals (
            id uuid PRIMARY KEY,
            payout_id uuid NOT NULL REFERENCES payouts (id),
            -- The entry for which it is, a seller's part of a refund or of a dispute, and its payment. One that
            -- was made at Stripe without us is for none.
            journal_id uuid,
            line smallint,
            payment_id uuid REFERENCES payments (id),
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            status text NOT NULL CHECK (status IN ('pending', 'succeeded', 'failed')),
            failure_code text,
            stripe_reversal_id text CONSTRAINT payout_reversals_stripe_reversal_id_key UNIQUE,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            attempts integer NOT NULL DEFAULT 0,
            key_number integer NOT NULL DEFAULT 0 CHECK (key_number >= 0),
            first_sent_at timestamptz,
            key_burnt_at timestamptz,
            due_at timestamptz,
            publish_at timestamptz,
            locked_until timestamptz,
            quarantined_at timestamptz,
            quarantine_reason text,
            CONSTRAINT payout_reversals_journal_id_line_key UNIQUE (journal_id, line),
            CONSTRAINT payout_reversals_for_an_entry CHECK (
                (journal_id IS NULL) = (line IS NULL) AND (journal_id IS NULL) = (payment_id IS NULL)),
            CONSTRAINT payout_reversals_succeeded_at_stripe CHECK (
                status <> 'succeeded' OR stripe_reversal_id IS NOT NULL),
            CONSTRAINT payout_reversals_failed_says_why CHECK (status <> 'failed' OR failure_code IS NOT NULL),
            CONSTRAINT payout_reversals_publish_when_due CHECK ((due_at IS NULL) = (publish_at IS NULL))
        );
        CREATE INDEX payout_reversals_payout_id_idx ON payout_reversals (payout_id, id);
        CREATE INDEX payout_reversals_publish_at_idx ON payout_reversals (publish_at)
            WHERE publish_at IS NOT NULL;
        CREATE TRIGGER payout_reversals_start BEFORE INSERT ON payout_reversals
            FOR EACH ROW WHEN (NEW.status <> 'pending') EXECUTE FUNCTION refuse_late_start();
        CREATE TRIGGER payout_reversals_transitions AFTER UPDATE ON payout_reversals
            REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_illegal_transition();
        CREATE TRIGGER payout_reversals_stay BEFORE DELETE OR TRUNCATE ON payout_reversals
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
        INSERT INTO legal_transitions (machine, from_status, to_status)
        SELECT 'payout_reversals', 'pending', unnest(ARRAY['succeeded', 'failed']);

        -- As with refunds: triggers alone count what of a payout is taken back or about to be, and lock it by
        -- that, so the CHECK of the payout holds whatever runs at once and whoever writes.
        CREATE FUNCTION count_new_reversals() RETURNS trigger
            LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
        BEGIN
            UPDATE payouts p SET reversed_minor = p.reversed_minor + n.amount_minor
            FROM (SELECT payout_id, sum(amount_minor) AS amount_minor FROM new_rows GROUP BY payout_id) AS n
            WHERE p.id = n.payout_id;
            RETURN NULL;
        END $$;
        CREATE FUNCTION count_changed_reversals() RETURNS trigger
            LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
        BEGIN
            UPDATE payouts p SET reversed_minor = p.reversed_minor + n.change_minor
            FROM (
                SELECT payout_id, sum(change_minor) AS change_minor
                FROM (
                    SELECT payout_id, amount_minor AS change_minor FROM new_rows WHERE status <> 'failed'
                    UNION ALL
                    SELECT payout_id, -amount_minor FROM old_rows WHERE status <> 'failed'
                ) AS changes
                GROUP BY payout_id HAVING sum(change_minor) <> 0
            ) AS n
            WHERE p.id = n.payout_id;
            RETURN NULL;
        END $$;
        REVOKE EXECUTE ON FUNCTION count_new_reversals, count_changed_reversals FROM PUBLIC;
        CREATE TRIGGER payout_reversals_count_new AFTER INSERT ON payout_reversals
            REFERENCING NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION count_new_reversals();
        CREATE TRIGGER payout_reversals_count_changed AFTER UPDATE ON payout_reversals
            REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION count_changed_reversals();

        GRANT SELECT, INSERT ON payout_reversals TO marketflow_app;
        GRANT UPDATE (
            status, failure_code, stripe_reversal_id, updated_at, attempts, key_number, first_sent_at,
            key_burnt_at, due_at, publish_at, locked_until, quarantined_at, quarantine_reason
        ) ON payout_reversals TO marketflow_app;
        """
    )
