"""Triggers compare with the tables in `public`, whatever else a session calls by their names.

A temporary table hides one of the same name. Who made one of legal transitions or of a payout's entries was
believed by the triggers, and so had any step and any payout.
"""

from alembic import op

revision = "triggers_look_in_public"
down_revision = "disputes_that_take_again"


def upgrade() -> None:
    op.execute(
        """
        -- What they call, as wrong_payout, looks where they do.
        DO $$
        DECLARE
            each regprocedure;
        BEGIN
            FOR each IN
                SELECT oid FROM pg_proc
                WHERE pronamespace = 'public'::regnamespace AND prorettype = 'trigger'::regtype
                    AND proowner = current_user::regrole AND proconfig IS NULL
            LOOP
                EXECUTE format('ALTER FUNCTION %s SET search_path = public, pg_temp', each);
            END LOOP;
            -- The application makes no tables; where the database is another's, that one has to say so.
            EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
        END $$;
        """
    )
