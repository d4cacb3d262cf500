"""What Stripe lists is added up by day, by the database itself: a balance is then a sum over days."""

from alembic import op

revision = "stripe_days"
down_revision = "own_payouts"

# One statement over the lines that came, and one over those that went; lines that stay as they were move nothing.
_ADD_UP = """
    INSERT INTO stripe_days AS d (day, currency, net_minor, lines)
    SELECT day, currency, sum(net_minor), sum(lines) FROM ({changes}) AS changes
    GROUP BY day, currency HAVING sum(net_minor) <> 0 OR sum(lines) <> 0
    ORDER BY day, currency
    ON CONFLICT (day, currency) DO UPDATE
    SET net_minor = d.net_minor + excluded.net_minor, lines = d.lines + excluded.lines
"""
_DAY = "(created_at AT TIME ZONE 'UTC')::date AS day, currency"
_CAME = f"SELECT {_DAY}, amount_minor - fee_minor AS net_minor, 1 AS lines FROM new_rows"
_WENT = f"SELECT {_DAY}, fee_minor - amount_minor AS net_minor, -1 AS lines FROM old_rows"


def upgrade() -> None:
    op.execute(
        f"""
        CREATE TABLE stripe_days (
            day date NOT NULL,
            currency text NOT NULL,
            net_minor bigint NOT NULL,
            lines bigint NOT NULL,
            PRIMARY KEY (day, currency)
        );
        -- In its own name: the application reads these sums, and cannot write them.
        CREATE FUNCTION add_up_stripe_days() RETURNS trigger
            LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
        BEGIN
            IF TG_OP = 'INSERT' THEN
                {_ADD_UP.format(changes=_CAME)};
            ELSIF TG_OP = 'DELETE' THEN
                {_ADD_UP.format(changes=_WENT)};
            ELSE
                {_ADD_UP.format(changes=f"{_CAME} UNION ALL {_WENT}")};
            END IF;
            RETURN NULL;
        END $$;
        REVOKE EXECUTE ON FUNCTION add_up_stripe_days() FROM PUBLIC;
        LOCK TABLE stripe_transactions IN SHARE ROW EXCLUSIVE MODE;
        CREATE TRIGGER stripe_transactions_add_up_new AFTER INSERT ON stripe_transactions
            REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION add_up_stripe_days();
        CREATE TRIGGER stripe_transactions_add_up_changed AFTER UPDATE ON stripe_transactions
            REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION add_up_stripe_days();
        CREATE TRIGGER stripe_transactions_add_up_gone AFTER DELETE ON stripe_transactions
            REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION add_up_stripe_days();
        CREATE TRIGGER stripe_transactions_stay BEFORE TRUNCATE ON stripe_transactions
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
        INSERT INTO stripe_days
        SELECT {_DAY}, sum(amount_minor - fee_minor), count(*) FROM stripe_transactions GROUP BY 1, 2;
        GRANT SELECT ON stripe_days TO marketflow_app;
        """
    )
