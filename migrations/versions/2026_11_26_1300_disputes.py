"""Disputes: what payers' banks ask back, until when to answer, and what became of the money."""

from alembic import op

revision = "disputes"
down_revision = "event_positions"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE disputes (
            id uuid PRIMARY KEY,
            payment_id uuid NOT NULL REFERENCES payments (id),
            stripe_dispute_id text NOT NULL CONSTRAINT disputes_stripe_dispute_id_key UNIQUE,
            stripe_charge_id text NOT NULL,
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            reason text NOT NULL,
            status text NOT NULL CHECK (status IN (
                'warning_needs_response', 'warning_under_review', 'warning_closed', 'needs_response',
                'under_review', 'appeal_needs_response', 'appeal_under_review', 'prevented', 'won', 'lost')),
            evidence_due_at timestamptz,
            opened_at timestamptz NOT NULL,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            funds text NOT NULL CHECK (funds IN ('none', 'withdrawn', 'reinstated', 'lost')),
            withdrawn_minor bigint NOT NULL CHECK (withdrawn_minor >= 0),
            withdrawal_id text,
            transaction_ids text[] NOT NULL,
            CONSTRAINT disputes_money_has_a_withdrawal CHECK (
                (funds = 'none') = (withdrawn_minor = 0) AND (funds = 'none') = (withdrawal_id IS NULL))
        );
        CREATE INDEX disputes_payment_id_idx ON disputes (payment_id);
        CREATE TRIGGER disputes_stay BEFORE DELETE OR TRUNCATE ON disputes
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
        -- A dispute may be heard of when it is over already, so it starts in any state.
        CREATE TRIGGER disputes_transitions AFTER UPDATE ON disputes
            REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_illegal_transition();
        INSERT INTO legal_transitions (machine, from_status, to_status)
        SELECT machine, from_status, unnest(string_to_array(to_statuses, ' '))
        FROM (VALUES
            ('orders', 'refunded', 'disputed'),
            ('disputes', 'warning_needs_response', 'warning_under_review warning_closed needs_response'
                ' under_review appeal_needs_response appeal_under_review prevented won lost'),
            ('disputes', 'warning_under_review', 'warning_closed needs_response under_review'
                ' appeal_needs_response appeal_under_review prevented won lost'),
            ('disputes', 'needs_response',
                'under_review appeal_needs_response appeal_under_review prevented won lost'),
            ('disputes', 'under_review', 'appeal_needs_response appeal_under_review prevented won lost'),
            ('disputes', 'appeal_needs_response', 'appeal_under_review prevented won lost'),
            ('disputes', 'appeal_under_review', 'prevented won lost'),
            ('disputes', 'lost', 'appeal_needs_response appeal_under_review won')
        ) AS steps (machine, from_status, to_statuses);

        ALTER TABLE journals DROP CONSTRAINT journals_kind_check;
        ALTER TABLE journals ADD CONSTRAINT journals_kind_check CHECK (kind IN (
            'charge', 'stripe_fee', 'refund', 'refund_failed', 'dispute_opened', 'dispute_fee', 'dispute_won',
            'dispute_lost', 'unapplied_charge', 'unapplied_refund')) NOT VALID;
        ALTER TABLE journals VALIDATE CONSTRAINT journals_kind_check;
        ALTER TABLE entries DROP CONSTRAINT entries_account_check;
        ALTER TABLE entries ADD CONSTRAINT entries_account_check CHECK (account ~ (
            '^(stripe_balance|commission_revenue|processing_fees|unapplied_charges|disputed_funds'
            '|seller_(payable|disputed):[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$')) NOT VALID;
        ALTER TABLE entries VALIDATE CONSTRAINT entries_account_check;

        GRANT SELECT, INSERT ON disputes TO marketflow_app;
        GRANT UPDATE (status, evidence_due_at, updated_at, funds, withdrawn_minor, withdrawal_id, transaction_ids)
            ON disputes TO marketflow_app;
        """
    )
