"""A seal ends at a record of its log.

One that ended beyond would count as sealed what nobody has written yet: sealing would stand still for ever, and
nobody would miss it, since nothing waits to be sealed.
"""

from alembic import op

revision = "seals_end_at_records"
down_revision = "triggers_look_in_public"


def upgrade() -> None:
    op.execute(
        """
        CREATE FUNCTION refuse_seal_of_nothing() RETURNS trigger LANGUAGE plpgsql
            SET search_path = public, pg_temp AS $$
        BEGIN
            IF (NEW.log = 'events' AND NOT EXISTS (SELECT FROM events WHERE position = NEW.last_position))
                OR (NEW.log = 'journals' AND NOT EXISTS (
                    SELECT FROM entries WHERE transaction_id = NEW.last_position))
            THEN
                RAISE EXCEPTION 'seal % ends at %, where the log of % has nothing',
                    NEW.number, NEW.last_position, NEW.log USING ERRCODE = 'check_violation';
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER audit_seals_end_at_a_record BEFORE INSERT ON audit_seals
            FOR EACH ROW EXECUTE FUNCTION refuse_seal_of_nothing();
        """
    )
