"""Exchanges that Stripe makes: what left one currency and came into another, at which rate."""

from alembic import op

revision = "currencies"
down_revision = "room_for_order_steps"


def upgrade() -> None:
    op.execute(
        """
        -- Beside the journals and not in them: few have one, and each journal has one currency.
        CREATE TABLE conversions (
            journal_id uuid PRIMARY KEY,
            from_currency text NOT NULL CHECK (from_currency ~ '^[A-Z]{3}$'),
            from_minor bigint NOT NULL,
            to_currency text NOT NULL CHECK (to_currency ~ '^[A-Z]{3}$'),
            to_minor bigint NOT NULL,
            exchange_rate numeric CHECK (exchange_rate > 0),
            CONSTRAINT conversions_of_two_currencies CHECK (from_currency <> to_currency)
        );
        CREATE FUNCTION refuse_wrong_conversion() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            bad uuid;
        BEGIN
            SELECT n.journal_id INTO bad
            FROM new_rows n LEFT JOIN journals j ON j.id = n.journal_id
                AND j.kind = 'conversion_charged' AND j.currency = n.from_currency
            WHERE j.id IS NULL
            LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION 'journal % is not the first half of that exchange', bad
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER conversions_of_journals AFTER INSERT ON conversions
            REFERENCING NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_wrong_conversion();
        CREATE TRIGGER conversions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON conversions
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

        ALTER TABLE journals DROP CONSTRAINT journals_kind_check;
        ALTER TABLE journals ADD CONSTRAINT journals_kind_check CHECK (kind IN (
            'charge', 'stripe_fee', 'refund', 'refund_failed', 'refund_fee', 'dispute_opened', 'dispute_fee',
            'dispute_won', 'dispute_lost', 'conversion_charged', 'conversion_settled', 'conversion_fee',
            'unapplied_charge', 'unapplied_refund')) NOT VALID;
        ALTER TABLE journals VALIDATE CONSTRAINT journals_kind_check;
        ALTER TABLE entries DROP CONSTRAINT entries_account_check;
        ALTER TABLE entries ADD CONSTRAINT entries_account_check CHECK (account ~ (
            '^(stripe_balance|commission_revenue|processing_fees|unapplied_charges|disputed_funds'
            '|currency_conversion|seller_(payable|disputed):[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$'))
            NOT VALID;
        ALTER TABLE entries VALIDATE CONSTRAINT entries_account_check;

        -- Stripe's movements of a refund, once their fees and rates are booked.
        ALTER TABLE refunds
            ADD COLUMN transaction_id text,
            ADD COLUMN failure_transaction_id text;

        GRANT SELECT, INSERT ON conversions TO marketflow_app;
        GRANT UPDATE (transaction_id, failure_transaction_id) ON refunds TO marketflow_app;
        """
    )
