"""What every table of money stands on: append-only history, and one table of legal state transitions."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute(
        """
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% on % is refused: its rows are history', TG_OP, TG_TABLE_NAME
                USING ERRCODE = 'restrict_violation';
        END $$;

        CREATE TABLE legal_transitions (
            machine text NOT NULL,
            from_status text NOT NULL,
            to_status text NOT NULL,
            PRIMARY KEY (machine, from_status, to_status)
        );
        INSERT INTO legal_transitions (machine, from_status, to_status)
        SELECT machine, from_status, unnest(string_to_array(to_statuses, ' '))
        FROM (VALUES
            ('orders', 'pending', 'paid cancelled expired'),
            ('orders', 'paid', 'shipped refunded disputed'),
            ('orders', 'shipped', 'completed refunded disputed'),
            ('orders', 'completed', 'refunded disputed'),
            ('orders', 'disputed', 'paid shipped completed refunded'),
            ('payments', 'pending',
             'processing unknown requires_action requires_capture succeeded failed canceled'),
            ('payments', 'processing', 'unknown requires_action requires_capture succeeded failed canceled'),
            ('payments', 'unknown', 'requires_action requires_capture succeeded failed canceled'),
            ('payments', 'requires_action', 'requires_capture succeeded failed canceled'),
            ('payments', 'requires_capture', 'succeeded failed canceled'),
            ('payments', 'failed', 'succeeded'),
            ('payments', 'canceled', 'succeeded'),
            ('refunds', 'pending', 'succeeded failed')
        ) AS steps (machine, from_status, to_statuses);
        GRANT SELECT ON legal_transitions TO marketflow_app;

        -- Fired after each UPDATE of a table with a state machine of the table's name. A changed id would
        -- escape the comparison, so it is refused as well.
        CREATE FUNCTION refuse_illegal_transition() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            bad record;
        BEGIN
            SELECT n.id, o.status AS from_status, n.status AS to_status INTO bad
            FROM new_rows n LEFT JOIN old_rows o USING (id)
            WHERE o.status IS NULL OR (
                o.status <> n.status AND NOT EXISTS (
                    SELECT FROM legal_transitions t
                    WHERE t.machine = TG_TABLE_NAME AND t.from_status = o.status AND t.to_status = n.status
                )
            )
            LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION '% %: illegal transition from % to %',
                    TG_TABLE_NAME, bad.id, bad.from_status, bad.to_status
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END $$;

        CREATE FUNCTION refuse_late_start() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% must start as pending, not as %', TG_TABLE_NAME, NEW.status
                USING ERRCODE = 'check_violation';
        END $$;
        """
    )
