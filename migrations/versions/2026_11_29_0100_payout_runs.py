"""Scheduled payout runs: one for each interval, one at a time, and one payout a seller and currency in each."""

from alembic import op

revision = "payout_runs"
down_revision = "search_spans"


def upgrade() -> None:
    op.execute(
        """
        -- A run is begun by whoever comes first in its interval and worked at under a lease; who comes later finds
        -- it made, or goes on behind the last seller where a process has ended.
        CREATE TABLE payout_runs (
            run_at timestamptz PRIMARY KEY,
            started_at timestamptz NOT NULL,
            locked_until timestamptz NOT NULL,
            after_seller_id uuid,
            payouts integer NOT NULL DEFAULT 0 CHECK (payouts >= 0),
            finished_at timestamptz
        );
        CREATE UNIQUE INDEX payout_runs_one_at_a_time ON payout_runs ((finished_at IS NULL))
            WHERE finished_at IS NULL;
        CREATE TRIGGER payout_runs_stay BEFORE DELETE OR TRUNCATE ON payout_runs
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

        ALTER TABLE payouts
            ADD COLUMN run_at timestamptz REFERENCES payout_runs (run_at),
            ADD CONSTRAINT payouts_one_a_run UNIQUE (run_at, seller_id, currency),
            ADD CONSTRAINT payouts_of_a_run_are_scheduled CHECK (run_at IS NULL OR origin = 'scheduled');

        GRANT SELECT, INSERT ON payout_runs TO marketflow_app;
        GRANT UPDATE (locked_until, after_seller_id, payouts, finished_at) ON payout_runs TO marketflow_app;
        """
    )
