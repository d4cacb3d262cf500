"""No correction moves more than anything real does.

Those of a hundred legs of 2^53 came to more than a bigint holds after some twenty: no balance was told any more,
and none was folded.
"""

from alembic import op

revision = "corrections_stay_small"
down_revision = "shipped_by_hand"


def upgrade() -> None:
    # Settling posts no correction, so all that it meets is the comparison of WHEN.
    op.execute(
        """
        CREATE FUNCTION refuse_huge_correction() RETURNS trigger LANGUAGE plpgsql
            SET search_path = public, pg_temp AS $$
        BEGIN
            IF (SELECT sum(amount_minor) FROM entries WHERE journal_id = NEW.id AND amount_minor > 0)
                > 1000000000000
            THEN
                RAISE EXCEPTION 'correction % moves more than 1000000000000 minor units', NEW.id
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER corrections_stay_small AFTER INSERT ON journals
            FOR EACH ROW WHEN (NEW.kind = 'correction') EXECUTE FUNCTION refuse_huge_correction();
        """
    )
