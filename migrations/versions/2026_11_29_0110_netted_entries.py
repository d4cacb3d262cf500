"""Entries of a payment that come to nothing by themselves, as after an exchange: no payout takes them."""

from alembic import op

revision = "netted_entries"
down_revision = "stripe_days"


def upgrade() -> None:
    op.execute(
        """
        -- Without a payout: entries of one payment, seller and currency that come to nothing.
        ALTER TABLE payout_entries ALTER COLUMN payout_id DROP NOT NULL;
        CREATE FUNCTION refuse_wrong_netting() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (
                SELECT FROM changed_rows x
                LEFT JOIN entries e ON (e.journal_id, e.line) = (x.journal_id, x.line)
                LEFT JOIN journals j ON j.id = x.journal_id
                WHERE x.payout_id IS NULL
                GROUP BY j.payment_id, e.account, e.currency
                HAVING sum(e.amount_minor) IS DISTINCT FROM 0 OR j.payment_id IS NULL
                    OR NOT starts_with(e.account, 'seller_payable:'))
            THEN
                RAISE EXCEPTION 'entries that no payout takes do not come to nothing'
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER payout_entries_netted AFTER INSERT ON payout_entries
            REFERENCING NEW TABLE AS changed_rows
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_wrong_netting();

        -- As before, and what no payout takes stays too.
        CREATE OR REPLACE FUNCTION refuse_lost_payout_entries() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (
                SELECT FROM old_rows o LEFT JOIN payouts p ON p.id = o.payout_id
                WHERE p.id IS NULL OR p.status <> 'failed' OR p.stripe_transfer_id IS NOT NULL)
            THEN
                RAISE EXCEPTION 'entries stay with the payout that takes them'
                    USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NULL;
        END $$;
        """
    )
