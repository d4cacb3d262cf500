"""The double-entry ledger, which no program and no hand can unbalance, extend or edit."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE journals (
            id uuid PRIMARY KEY,
            kind text NOT NULL CHECK (kind IN (
                'charge', 'stripe_fee', 'unapplied_charge', 'unapplied_refund')),
            source text NOT NULL CHECK (length(source) BETWEEN 1 AND 255),
            payment_id uuid,
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            entry_count smallint NOT NULL CHECK (entry_count >= 2),
            created_at timestamptz NOT NULL,
            CONSTRAINT journals_kind_source_key UNIQUE (kind, source)
        );
        CREATE INDEX journals_payment_id_idx ON journals (payment_id) WHERE payment_id IS NOT NULL;

        -- A debit is positive, a credit negative. transaction_id is the writing transaction's id: what is
        -- below a snapshot's xmin is finished for ever, so balances fold up to there and miss nothing that
        -- commits late. No foreign keys: the trigger below proves the same in one join for a whole batch.
        CREATE TABLE entries (
            journal_id uuid NOT NULL,
            line smallint NOT NULL CHECK (line > 0),
            account text NOT NULL CHECK (account ~ (
                '^(stripe_balance|commission_revenue|processing_fees|unapplied_charges'
                '|seller_payable:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$')),
            currency text NOT NULL,
            amount_minor bigint NOT NULL CHECK (amount_minor <> 0),
            transaction_id bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
            PRIMARY KEY (journal_id, line)
        );
        CREATE INDEX entries_account_idx ON entries (account, journal_id);
        CREATE INDEX entries_transaction_id_idx ON entries USING brin (transaction_id)
            WITH (pages_per_range = 32);

        -- Entries come with their journal: as many as it names, in its currency, and they sum to zero. Their
        -- lines are numbered from 1 to that number, so that the primary key refuses any that come later.
        CREATE FUNCTION refuse_wrong_entries() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            bad uuid;
        BEGIN
            SELECT n.journal_id INTO bad
            FROM new_rows n LEFT JOIN journals j ON j.id = n.journal_id
            GROUP BY n.journal_id, j.id
            HAVING j.id IS NULL
                OR sum(n.amount_minor) <> 0
                OR count(*) <> max(j.entry_count)
                OR max(n.line) <> max(j.entry_count)
                OR bool_or(n.currency <> j.currency)
            LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION 'journal % does not balance or has other entries than it names', bad
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER entries_balance AFTER INSERT ON entries
            REFERENCING NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_wrong_entries();

        -- A journal comes with its entries in one statement.
        CREATE FUNCTION refuse_empty_journal() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            bad uuid;
        BEGIN
            SELECT n.id INTO bad
            FROM new_rows n
            WHERE NOT EXISTS (SELECT FROM entries e WHERE e.journal_id = n.id)
            LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION 'journal % has no entries', bad USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER journals_have_entries AFTER INSERT ON journals
            REFERENCING NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_empty_journal();

        CREATE TRIGGER journals_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journals
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
        CREATE TRIGGER entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entries
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

        -- A balance is what is folded here plus the entries of the transactions from `through` on.
        CREATE TABLE balances (
            account text NOT NULL,
            currency text NOT NULL,
            balance_minor bigint NOT NULL,
            PRIMARY KEY (account, currency)
        );
        CREATE TABLE balance_folds (
            id boolean PRIMARY KEY DEFAULT true CHECK (id),
            through bigint NOT NULL
        );
        INSERT INTO balance_folds (through) VALUES (0);

        GRANT SELECT, INSERT ON journals, balances TO marketflow_app;
        -- Not transaction_id: what a forged one hides would never be folded.
        GRANT SELECT, INSERT (journal_id, line, account, currency, amount_minor) ON entries TO marketflow_app;
        GRANT UPDATE (balance_minor) ON balances TO marketflow_app;
        GRANT SELECT, UPDATE ON balance_folds TO marketflow_app;
        """
    )
