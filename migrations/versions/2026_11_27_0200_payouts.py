"""Payouts: transfers to sellers, each made of entries of the ledger that no other payout takes."""

from alembic import op

revision = "payouts"
down_revision = "seller_accounts"


def upgrade() -> None:
    op.execute(
        """
        -- When Stripe lets the money of a payment be used. Written by the statement that settles, and not indexed:
        -- whoever pays out finds it from the seller's entries. Stripe's longest ordinary delay stands for what
        -- was settled before.
        ALTER TABLE payments ADD COLUMN funds_available_at timestamptz;
        UPDATE payments p SET funds_available_at = p.updated_at + interval '7 days'
        WHERE p.status = 'succeeded' AND p.fee_minor IS NOT NULL AND NOT EXISTS (
            SELECT FROM journals j WHERE j.payment_id = p.id AND j.kind = 'conversion_charged');
        GRANT UPDATE (funds_available_at) ON payments TO marketflow_app;

        CREATE TABLE payouts (
            id uuid PRIMARY KEY,
            seller_id uuid NOT NULL REFERENCES sellers (user_id),
            stripe_account_id text NOT NULL CHECK (length(stripe_account_id) BETWEEN 1 AND 255),
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            -- What Stripe cannot transfer in this currency of the entries that are taken; it is owed on.
            carried_minor bigint NOT NULL DEFAULT 0 CHECK (carried_minor >= 0),
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            status text NOT NULL CHECK (status IN (
                'pending', 'processing', 'unknown', 'in_transit', 'paid', 'failed', 'reversed')),
            origin text NOT NULL CHECK (origin IN ('requested', 'scheduled')),
            requested_by uuid REFERENCES users (id),
            idempotency_key text CHECK (length(idempotency_key) BETWEEN 1 AND 255),
            request_hash bytea CHECK (length(request_hash) = 32),
            failure_code text,
            stripe_transfer_id text CONSTRAINT payouts_stripe_transfer_id_key UNIQUE,
            stripe_payout_id text,
            reversed_minor bigint NOT NULL DEFAULT 0,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            attempts integer NOT NULL DEFAULT 0,
            first_sent_at timestamptz,
            key_burnt_at timestamptz,
            due_at timestamptz,
            publish_at timestamptz,
            locked_until timestamptz,
            quarantined_at timestamptz,
            quarantine_reason text,
            CONSTRAINT payouts_requested_by_idempotency_key_key UNIQUE (requested_by, idempotency_key),
            CONSTRAINT payouts_requested_by_somebody CHECK (
                (origin = 'requested') = (requested_by IS NOT NULL)
                AND (requested_by IS NULL) = (idempotency_key IS NULL)
                AND (requested_by IS NULL) = (request_hash IS NULL)),
            -- A transfer that is known is booked. What failed may be either: never transferred, or sent back.
            CONSTRAINT payouts_gone_is_transferred CHECK (
                stripe_transfer_id IS NOT NULL OR status IN ('pending', 'processing', 'unknown', 'failed')),
            CONSTRAINT payouts_failed_says_why CHECK (status <> 'failed' OR failure_code IS NOT NULL),
            CONSTRAINT payouts_reversed CHECK (
                reversed_minor BETWEEN 0 AND CASE WHEN stripe_transfer_id IS NULL THEN 0 ELSE amount_minor END),
            CONSTRAINT payouts_publish_when_due CHECK ((due_at IS NULL) = (publish_at IS NULL))
        );
        CREATE INDEX payouts_seller_id_idx ON payouts (seller_id, id);
        CREATE INDEX payouts_under_way_idx ON payouts (seller_id)
            WHERE status IN ('pending', 'processing', 'unknown');
        CREATE INDEX payouts_stripe_payout_id_idx ON payouts (stripe_payout_id) WHERE stripe_payout_id IS NOT NULL;
        CREATE INDEX payouts_publish_at_idx ON payouts (publish_at) WHERE publish_at IS NOT NULL;
        CREATE TRIGGER payouts_start BEFORE INSERT ON payouts
            FOR EACH ROW WHEN (NEW.status <> 'pending') EXECUTE FUNCTION refuse_late_start();
        CREATE TRIGGER payouts_transitions AFTER UPDATE ON payouts
            REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_illegal_transition();
        CREATE TRIGGER payouts_stay BEFORE DELETE OR TRUNCATE ON payouts
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
        INSERT INTO legal_transitions (machine, from_status, to_status)
        SELECT machine, from_status, unnest(string_to_array(to_statuses, ' '))
        FROM (VALUES
            ('payouts', 'pending', 'processing unknown in_transit failed'),
            ('payouts', 'processing', 'unknown in_transit failed'),
            ('payouts', 'unknown', 'in_transit failed'),
            ('payouts', 'in_transit', 'paid failed reversed'),
            ('payouts', 'paid', 'failed reversed'),
            ('payouts', 'failed', 'in_transit paid reversed')
        ) AS steps (machine, from_status, to_statuses);

        -- Which payout takes an entry of what is owed to its seller; one at most. The entries that a payout takes
        -- come to its amount; once it is booked, by a journal of that amount, its own entry is among them, and
        -- they come to nothing.
        CREATE TABLE payout_entries (
            journal_id uuid NOT NULL,
            line smallint NOT NULL,
            payout_id uuid NOT NULL REFERENCES payouts (id),
            PRIMARY KEY (journal_id, line)
        );
        CREATE INDEX payout_entries_payout_id_idx ON payout_entries (payout_id);
        CREATE FUNCTION wrong_payout(ids uuid[]) RETURNS uuid LANGUAGE sql STABLE AS $$
            SELECT p.id
            FROM payouts p
            LEFT JOIN payout_entries x ON x.payout_id = p.id
            LEFT JOIN entries e ON (e.journal_id, e.line) = (x.journal_id, x.line)
            WHERE p.id = ANY(ids)
            GROUP BY p.id
            HAVING coalesce(-sum(e.amount_minor), 0) <> CASE
                    WHEN p.stripe_transfer_id IS NOT NULL OR p.status = 'failed' THEN 0
                    ELSE p.amount_minor + p.carried_minor END
                OR count(e.journal_id) <> count(x.journal_id)
                OR (p.stripe_transfer_id IS NOT NULL AND NOT EXISTS (
                    SELECT FROM journals j JOIN entries b ON b.journal_id = j.id
                    WHERE j.kind = 'payout' AND j.source = p.stripe_transfer_id
                        AND b.account = 'stripe_balance' AND b.amount_minor = -p.amount_minor))
                OR bool_or(e.account <> 'seller_payable:' || p.seller_id OR e.currency <> p.currency)
            LIMIT 1
        $$;
        CREATE FUNCTION refuse_wrong_payout_entries() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            bad uuid = wrong_payout(ARRAY(SELECT DISTINCT payout_id FROM changed_rows));
        BEGIN
            IF bad IS NOT NULL THEN
                RAISE EXCEPTION 'payout %: its entries do not come to its amount', bad
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER payout_entries_sum AFTER INSERT ON payout_entries
            REFERENCING NEW TABLE AS changed_rows
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_wrong_payout_entries();
        CREATE FUNCTION refuse_wrong_payout() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF wrong_payout(ARRAY[NEW.id]) IS NOT NULL THEN
                RAISE EXCEPTION 'payout %: its entries do not come to its amount', NEW.id
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER payouts_sum
            AFTER INSERT OR UPDATE OF amount_minor, carried_minor, status, stripe_transfer_id ON payouts
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_wrong_payout();

        -- A transfer that was never made lets its entries go; nothing else does.
        CREATE FUNCTION refuse_lost_payout_entries() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (
                SELECT FROM old_rows o JOIN payouts p ON p.id = o.payout_id
                WHERE p.status <> 'failed' OR p.stripe_transfer_id IS NOT NULL)
            THEN
                RAISE EXCEPTION 'entries stay with the payout that takes them'
                    USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER payout_entries_stay AFTER DELETE ON payout_entries
            REFERENCING OLD TABLE AS old_rows
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_lost_payout_entries();
        CREATE TRIGGER payout_entries_append_only BEFORE UPDATE OR TRUNCATE ON payout_entries
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

        -- All entries of a seller below this journal are taken by payouts: nobody looks at them again.
        CREATE TABLE payout_floors (
            seller_id uuid PRIMARY KEY REFERENCES sellers (user_id),
            journal_id uuid NOT NULL
        );

        ALTER TABLE journals DROP CONSTRAINT journals_kind_check;
        ALTER TABLE journals ADD CONSTRAINT journals_kind_check CHECK (kind IN (
            'charge', 'stripe_fee', 'refund', 'refund_failed', 'refund_fee', 'dispute_opened', 'dispute_fee',
            'dispute_won', 'dispute_lost', 'conversion_charged', 'conversion_settled', 'conversion_fee',
            'payout', 'payout_reversed', 'unapplied_charge', 'unapplied_refund')) NOT VALID;
        ALTER TABLE journals VALIDATE CONSTRAINT journals_kind_check;

        GRANT SELECT, INSERT ON payouts TO marketflow_app;
        GRANT UPDATE (
            status, failure_code, stripe_transfer_id, stripe_payout_id, updated_at, attempts,
            first_sent_at, key_burnt_at, due_at, publish_at, locked_until, quarantined_at, quarantine_reason
        ) ON payouts TO marketflow_app;
        GRANT SELECT, INSERT, DELETE ON payout_entries TO marketflow_app;
        GRANT SELECT, INSERT, UPDATE ON payout_floors TO marketflow_app;
        """
    )
