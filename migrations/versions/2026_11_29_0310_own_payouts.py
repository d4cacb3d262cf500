"""Payouts to the platform's own bank: their account, their journals, and what Stripe lists in each."""

from alembic import op

revision = "own_payouts"
down_revision = "entries_summarized"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE entries DROP CONSTRAINT entries_account_check;
        ALTER TABLE entries ADD CONSTRAINT entries_account_check CHECK (account ~ (
            '^(stripe_balance|bank|commission_revenue|processing_fees|unapplied_charges|disputed_funds'
            '|currency_conversion|seller_(payable|disputed):[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$'))
            NOT VALID;
        ALTER TABLE entries VALIDATE CONSTRAINT entries_account_check;
        DO $$
        DECLARE
            kinds text;
        BEGIN
            -- Whatever kinds there are by now, and three more.
            SELECT pg_get_constraintdef(oid) INTO kinds FROM pg_constraint
            WHERE conrelid = 'journals'::regclass AND conname = 'journals_kind_check';
            kinds := regexp_replace(kinds, 'ARRAY\\[',
                'ARRAY[''bank_payout''::text, ''bank_payout_fee''::text, ''bank_payout_returned''::text, ');
            kinds := regexp_replace(kinds, ' NOT VALID$', '');
            EXECUTE 'ALTER TABLE journals DROP CONSTRAINT journals_kind_check';
            EXECUTE 'ALTER TABLE journals ADD CONSTRAINT journals_kind_check ' || kinds || ' NOT VALID';
        END $$;
        ALTER TABLE journals VALIDATE CONSTRAINT journals_kind_check;

        ALTER TABLE reconciliations DROP CONSTRAINT reconciliations_step_check;
        ALTER TABLE reconciliations ADD CONSTRAINT reconciliations_step_check
            CHECK (step IN ('listing', 'unpacking', 'checking', 'mending', 'done'));

        -- The payout in which Stripe lists the line.
        ALTER TABLE stripe_transactions ADD COLUMN payout_id text;

        -- What Stripe lists in a payout comes to so much, as far as it was read; by the payout's own line.
        CREATE TABLE stripe_payout_contents (
            transaction_id text PRIMARY KEY,
            net_minor bigint NOT NULL,
            lines integer NOT NULL,
            is_whole boolean NOT NULL
        );
        ALTER TABLE reconciliation_exceptions ADD COLUMN contents_minor bigint;
        GRANT SELECT, INSERT, UPDATE, DELETE ON stripe_payout_contents TO marketflow_app;
        GRANT UPDATE (contents_minor) ON reconciliation_exceptions TO marketflow_app;
        """
    )
