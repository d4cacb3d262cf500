"""Refunds and reversals take from those whom they concern, in the currency that moved.

A line of a refund might name a seller who had sold nothing of its payment, and a reversal a loss of another
seller, or none at all: whoever wrote it was believed.
"""

from alembic import op

revision = "taken_from_whom_it_concerns"
down_revision = "payouts_follow_in_a_run"


def upgrade() -> None:
    op.execute(
        """
        CREATE FUNCTION refuse_refund_in_another_currency() RETURNS trigger LANGUAGE plpgsql
            SET search_path = public, pg_temp AS $$
        DECLARE
            bad uuid;
        BEGIN
            SELECT n.id INTO bad
            FROM new_rows n JOIN payments p ON p.id = n.payment_id
            WHERE n.currency <> p.currency
            LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION 'refund %: its payment is in another currency', bad
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER refunds_in_the_currency_of_their_payment AFTER INSERT ON refunds
            REFERENCING NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_refund_in_another_currency();

        -- A direct payment has one line, of its seller.
        CREATE FUNCTION refuse_line_of_another_payment() RETURNS trigger LANGUAGE plpgsql
            SET search_path = public, pg_temp AS $$
        DECLARE
            bad uuid;
        BEGIN
            SELECT n.refund_id INTO bad
            FROM new_rows n
            JOIN refunds r ON r.id = n.refund_id
            JOIN payments p ON p.id = r.payment_id
            LEFT JOIN order_lines l ON l.order_id = p.order_id AND l.line = n.line
            WHERE n.seller_id IS DISTINCT FROM CASE
                WHEN p.order_id IS NOT NULL THEN l.seller_id
                WHEN n.line = 1 THEN p.seller_id
            END
            LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION 'refund %: its payment has no such line of that seller', bad
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER refund_lines_of_their_payment AFTER INSERT ON refund_lines
            REFERENCING NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_line_of_another_payment();

        -- What was made at Stripe without us is for no entry.
        CREATE FUNCTION refuse_reversal_for_no_loss() RETURNS trigger LANGUAGE plpgsql
            SET search_path = public, pg_temp AS $$
        DECLARE
            bad uuid;
        BEGIN
            SELECT n.id INTO bad
            FROM new_rows n
            JOIN payouts p ON p.id = n.payout_id
            LEFT JOIN entries e ON e.journal_id = n.journal_id AND e.line = n.line
            LEFT JOIN journals j ON j.id = e.journal_id
            WHERE n.currency <> p.currency OR (n.journal_id IS NOT NULL AND (
                e.account IS DISTINCT FROM 'seller_payable:' || p.seller_id OR e.currency <> n.currency
                OR e.amount_minor < n.amount_minor OR j.payment_id IS DISTINCT FROM n.payment_id))
            LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION 'reversal %: the seller of its payout has not lost that', bad
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER payout_reversals_for_a_loss AFTER INSERT ON payout_reversals
            REFERENCING NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_reversal_for_no_loss();
        """
    )
