"""A refund that was made at Stripe and has failed when we first hear of it is stored as failed, and never counts.

Another may have taken its room since: as a pending one it would be refused, and what it moved never booked.
"""

from alembic import op

revision = "failed_refunds"
down_revision = "shipped_after_failed_refunds"


def upgrade() -> None:
    # What is counted is held to what was captured by payments_refunded, as before; what is not, here, alone.
    op.execute(
        """
        CREATE OR REPLACE FUNCTION count_new_refunds() RETURNS trigger
            LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
        DECLARE
            bad uuid;
        BEGIN
            SELECT n.id INTO bad
            FROM new_rows n JOIN payments p ON p.id = n.payment_id
            WHERE n.status = 'failed' AND n.amount_minor > p.captured_minor
            LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION 'refund %: it failed, but not even so much was captured', bad
                    USING ERRCODE = 'check_violation';
            END IF;
            UPDATE payments p SET refunded_minor = p.refunded_minor + n.amount_minor
            FROM (
                SELECT payment_id, sum(amount_minor) AS amount_minor
                FROM new_rows WHERE status <> 'failed' GROUP BY payment_id
            ) AS n
            WHERE p.id = n.payment_id;
            RETURN NULL;
        END $$;
        CREATE OR REPLACE TRIGGER refunds_start BEFORE INSERT ON refunds
            FOR EACH ROW WHEN (
                NEW.status <> 'pending'
                AND NOT (NEW.status = 'failed' AND NEW.origin = 'external' AND NEW.stripe_refund_id IS NOT NULL))
            EXECUTE FUNCTION refuse_late_start();
        """
    )
