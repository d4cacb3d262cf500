"""Reconciliation: the runs, what Stripe lists, whose journals are whose, and the exceptions."""

from alembic import op

revision = "reconciliation"
down_revision = "audit_seals"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE reconciliations (
            id uuid PRIMARY KEY,
            status text NOT NULL CHECK (status IN ('pending', 'running', 'succeeded')),
            step text NOT NULL CHECK (step IN ('listing', 'checking', 'mending', 'done')),
            from_at timestamptz NOT NULL,
            to_at timestamptz NOT NULL,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            requested_by uuid REFERENCES users (id),
            is_nightly boolean NOT NULL,
            listed_from_at timestamptz,
            cursor text,
            started_at timestamptz,
            finished_at timestamptz,
            lines integer NOT NULL DEFAULT 0,
            statement jsonb,
            due_at timestamptz,
            locked_until timestamptz,
            CONSTRAINT reconciliations_period CHECK (from_at < to_at),
            CONSTRAINT reconciliations_ends_once CHECK (
                (status = 'succeeded') = (finished_at IS NOT NULL) AND (status = 'succeeded') = (step = 'done')
                AND (status = 'succeeded') = (statement IS NOT NULL) AND (status = 'succeeded') = (due_at IS NULL))
        );
        CREATE UNIQUE INDEX reconciliations_one_a_night ON reconciliations (from_at, to_at)
            WHERE is_nightly;
        CREATE INDEX reconciliations_due_at_idx ON reconciliations (due_at) WHERE due_at IS NOT NULL;

        -- What has ended stays as it is.
        CREATE TRIGGER reconciliations_stay BEFORE UPDATE ON reconciliations
            FOR EACH ROW WHEN (OLD.status = 'succeeded') EXECUTE FUNCTION refuse_change();
        CREATE TRIGGER reconciliations_append_only BEFORE DELETE OR TRUNCATE ON reconciliations
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

        -- A mirror of Stripe's list. A line that Stripe lists no more goes from here too.
        CREATE TABLE stripe_transactions (
            id text PRIMARY KEY,
            category text NOT NULL,
            source text,
            amount_minor bigint NOT NULL,
            fee_minor bigint NOT NULL,
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            created_at timestamptz NOT NULL,
            payment_id uuid,
            charge_id text,
            intent_id text,
            verdict text,
            ledger_minor bigint,
            ledger_fee_minor bigint,
            seen_at timestamptz NOT NULL
        );
        CREATE INDEX stripe_transactions_created_at_idx ON stripe_transactions (created_at);
        CREATE INDEX stripe_transactions_source_idx ON stripe_transactions (source, category);

        -- Which movement at Stripe a journal is about, and which run has found it so, or has caused it.
        CREATE TABLE reconciled_journals (
            journal_id uuid PRIMARY KEY REFERENCES journals (id),
            transaction_id text NOT NULL,
            reconciliation_id uuid NOT NULL REFERENCES reconciliations (id),
            is_healing boolean NOT NULL
        );
        CREATE INDEX reconciled_journals_transaction_id_idx ON reconciled_journals (transaction_id);

        CREATE TABLE reconciliation_exceptions (
            id uuid PRIMARY KEY,
            key text NOT NULL,
            kind text NOT NULL CHECK (kind IN (
                'missing_in_ledger', 'missing_at_stripe', 'amount_mismatch', 'currency_mismatch', 'fee_mismatch',
                'duplicate', 'late', 'unknown_source')),
            status text NOT NULL CHECK (status IN ('open', 'healed', 'closed', 'resolved')),
            category text NOT NULL,
            stripe_transaction_id text,
            stripe_source text,
            stripe_amount_minor bigint,
            stripe_fee_minor bigint,
            stripe_currency text,
            stripe_created_at timestamptz,
            journal_ids uuid[] NOT NULL,
            ledger_amount_minor bigint,
            ledger_fee_minor bigint,
            ledger_currency text,
            ledger_created_at timestamptz,
            payment_id uuid,
            opened_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            closed_at timestamptz,
            closed_by uuid REFERENCES reconciliations (id),
            CONSTRAINT reconciliation_exceptions_have_a_side CHECK (
                stripe_transaction_id IS NOT NULL OR cardinality(journal_ids) > 0),
            CONSTRAINT reconciliation_exceptions_closed CHECK ((status = 'open') = (closed_at IS NULL))
        );
        CREATE UNIQUE INDEX reconciliation_exceptions_one_a_movement ON reconciliation_exceptions (key)
            WHERE status IN ('open', 'resolved');
        CREATE INDEX reconciliation_exceptions_open_idx ON reconciliation_exceptions (id) WHERE status = 'open';

        CREATE TABLE reconciliation_findings (
            reconciliation_id uuid NOT NULL REFERENCES reconciliations (id),
            exception_id uuid NOT NULL REFERENCES reconciliation_exceptions (id),
            PRIMARY KEY (reconciliation_id, exception_id)
        );

        CREATE TABLE reconciliation_resolutions (
            id uuid PRIMARY KEY DEFAULT uuidv7(),
            exception_id uuid NOT NULL REFERENCES reconciliation_exceptions (id),
            resolved_by uuid NOT NULL REFERENCES users (id),
            reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
            journal_id uuid REFERENCES journals (id),
            resolved_at timestamptz NOT NULL
        );
        CREATE INDEX reconciliation_resolutions_exception_id_idx ON reconciliation_resolutions (exception_id, id);
        CREATE TRIGGER reconciliation_resolutions_append_only
            BEFORE UPDATE OR DELETE OR TRUNCATE ON reconciliation_resolutions
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
        CREATE TRIGGER reconciliation_exceptions_append_only
            BEFORE DELETE OR TRUNCATE ON reconciliation_exceptions
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

        GRANT SELECT, INSERT ON reconciliations, stripe_transactions, reconciled_journals,
            reconciliation_exceptions, reconciliation_findings, reconciliation_resolutions TO marketflow_app;
        GRANT UPDATE (status, step, updated_at, listed_from_at, cursor, started_at, finished_at, lines, statement,
            due_at, locked_until) ON reconciliations TO marketflow_app;
        GRANT UPDATE, DELETE ON stripe_transactions TO marketflow_app;
        GRANT UPDATE (transaction_id) ON reconciled_journals TO marketflow_app;
        GRANT UPDATE (kind, status, stripe_amount_minor, stripe_fee_minor, stripe_currency, journal_ids,
            ledger_amount_minor, ledger_fee_minor, ledger_currency, ledger_created_at, payment_id, updated_at,
            closed_at, closed_by) ON reconciliation_exceptions TO marketflow_app;
        """
    )
    op.execute(
        """
        DO $$
        DECLARE
            kinds text;
        BEGIN
            -- Whatever kinds there are by now, and one more.
            SELECT pg_get_constraintdef(oid) INTO kinds FROM pg_constraint
            WHERE conrelid = 'journals'::regclass AND conname = 'journals_kind_check';
            kinds := regexp_replace(kinds, 'ARRAY\\[', 'ARRAY[''correction''::text, ');
            kinds := regexp_replace(kinds, ' NOT VALID$', '');
            EXECUTE 'ALTER TABLE journals DROP CONSTRAINT journals_kind_check';
            EXECUTE 'ALTER TABLE journals ADD CONSTRAINT journals_kind_check ' || kinds || ' NOT VALID';
        END $$;
        ALTER TABLE journals VALIDATE CONSTRAINT journals_kind_check;
        """
    )
