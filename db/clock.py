"""The database's time: one clock for all processes, whatever their machines' say."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from db.connection import Connection
from db.sql import Sql

_TOLERANCE = timedelta(seconds=1)
"""Machines that keep the time are no farther apart, and go by their own clocks."""
_IN_TIME = timedelta(0)
_TIME = Sql("SELECT clock_timestamp()")

log = structlog.get_logger(__name__)


def _machine_time() -> datetime:
    return datetime.now(UTC)


class DatabaseClock:
    """`domain.clock.Clock`: the machine's clock, put right by PostgreSQL's with every new connection.

    Leases and retries are times in rows, which each process compares with its own clock. One that were ten minutes
    fast would put off for ten minutes what it cannot finish, and sign webhooks that nobody believes.
    """

    def __init__(
        self,
        machine_time: Callable[[], datetime] = _machine_time,
        *,
        on_correction: Callable[[timedelta], None] = lambda _: None,
    ) -> None:
        """Go by the machine's clock until the database is heard; tell what else goes by it how far it is off."""
        self._machine_time = machine_time
        self._on_correction = on_correction
        self._correction = _IN_TIME

    def now(self) -> datetime:
        """Return the present time, aware and in UTC."""
        return self._machine_time() + self._correction

    async def hear(self, connection: Connection) -> None:
        """Ask a connection that is in no transaction, and leave it so. Errors: psycopg's own."""
        asked_at = self._machine_time()
        told: datetime = (await connection.execute(_TIME)).scalar_one()
        heard_at = self._machine_time()
        await connection.roll_back()
        self._put_right(asked_at, told, heard_at)

    def _put_right(self, asked_at: datetime, told: datetime, heard_at: datetime) -> None:
        """Go by what was told, as if half way between; a machine whose clock may be right is left alone."""
        if asked_at - _TOLERANCE <= told <= heard_at + _TOLERANCE:
            correction = _IN_TIME
        else:
            correction = told - (asked_at + (heard_at - asked_at) / 2)
        # No new one for every millisecond of a round trip, or time would jump to and fro.
        if not correction or abs(correction - self._correction) > _TOLERANCE:
            if correction != self._correction:
                log.warning("clock_put_right", machine_is_ahead_s=-correction.total_seconds())
                self._on_correction(correction)
            self._correction = correction
