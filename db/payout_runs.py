"""Scheduled payout runs in PostgreSQL: one for each interval, one at a time."""

from datetime import datetime

from db.connection import Connection
from db.sql import Sql
from domain.ids import UserId
from domain.payouts.model import RunLease

# A partial unique index holds that one run at most is not finished: of two who begin at once one gets nothing.
_CLAIM = Sql(
    """
    WITH resumed AS (
        UPDATE payout_runs SET locked_until = :locked_until
        WHERE finished_at IS NULL AND locked_until <= :now
        RETURNING run_at, locked_until, after_seller_id, finished_at
    ), started AS (
        INSERT INTO payout_runs (run_at, started_at, locked_until, finished_at)
        SELECT :run_at, :now, :locked_until, CASE WHEN NOT EXISTS (SELECT FROM payout_runs) THEN :now END
        WHERE NOT EXISTS (SELECT FROM payout_runs WHERE run_at >= :run_at OR finished_at IS NULL)
        ON CONFLICT DO NOTHING
        RETURNING run_at, locked_until, after_seller_id, finished_at
    )
    SELECT * FROM resumed UNION ALL SELECT * FROM started WHERE finished_at IS NULL
    """
)
_HELD = "run_at = :run_at AND locked_until = :locked_until AND finished_at IS NULL"
_ADVANCE = Sql(
    f"""
    UPDATE payout_runs SET after_seller_id = :seller_id, payouts = payouts + :made
    WHERE {_HELD} RETURNING run_at
    """
)
_PAUSE = Sql(f"UPDATE payout_runs SET locked_until = :now WHERE {_HELD}")
_FINISH = Sql(f"UPDATE payout_runs SET finished_at = :now WHERE {_HELD}")


class PayoutRuns:
    """`domain.payouts.ports.PayoutRuns`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def claim(self, run_at: datetime, now: datetime, locked_until: datetime) -> RunLease | None:
        """Lease the run of an interval, or one that is not finished and that nobody holds any more."""
        values = {"run_at": run_at, "now": now, "locked_until": locked_until}
        row = (await self._connection.execute(_CLAIM, values)).first()
        return RunLease(row.run_at, row.locked_until, row.after_seller_id) if row else None

    async def advance(self, lease: RunLease, seller_id: UserId | None, *, made: int) -> bool:
        """Remember who is done, in the transaction that paid a seller out; False when the lease was lost."""
        values = {**_held(lease), "seller_id": seller_id, "made": made}
        return (await self._connection.execute(_ADVANCE, values)).first() is not None

    async def pause(self, lease: RunLease, now: datetime) -> None:
        """Let the next one who asks go on with a run."""
        await self._connection.execute(_PAUSE, {**_held(lease), "now": now})

    async def finish(self, lease: RunLease, now: datetime) -> None:
        """Remember that a run paid every seller out, unless the lease was lost."""
        await self._connection.execute(_FINISH, {**_held(lease), "now": now})


def _held(lease: RunLease) -> dict[str, object]:
    return {"run_at": lease.run_at, "locked_until": lease.locked_until}
