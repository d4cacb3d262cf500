"""All processes go by the database's clock, whatever those of their machines say."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from structlog.testing import capture_logs

from db.clock import DatabaseClock
from db.connection import Connection
from db.pool import Pool, make_pool

NEAR = timedelta(seconds=30)
"""A busy machine may take its time between two looks at a clock."""
TEN_MINUTES = timedelta(minutes=10)


class Machine:
    """A machine whose clock is wrong by so much, or stands still."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)
        self.stands_at: datetime | None = None

    def time(self) -> datetime:
        return self.stands_at or datetime.now(UTC) + self.ahead


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def clock(machine: Machine) -> DatabaseClock:
    return DatabaseClock(machine.time)


@pytest.fixture
async def pool(database_url: str, clock: DatabaseClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pool]:
    """An pool with one connection, which is made anew each time that it is lent."""
    monkeypatch.setattr("db.pool._LIFETIME_S", 0)
    pool = make_pool(database_url, pool_size=1, statement_timeout_s=60, clock=clock)
    yield pool
    await pool.close()


def is_right(clock: DatabaseClock) -> bool:
    return abs(clock.now() - datetime.now(UTC)) < NEAR


@pytest.mark.parametrize("ahead", [TEN_MINUTES, -TEN_MINUTES, timedelta(days=400)])
async def test_wrong_clock_is_put_right_by_the_first_connection(
    machine: Machine, clock: DatabaseClock, pool: Pool, ahead: timedelta
) -> None:
    machine.ahead = ahead
    assert not is_right(clock)

    with capture_logs() as logs:
        await pool.warm()

    assert is_right(clock)
    assert clock.now().tzinfo is UTC
    ((event, wrong_s),) = [(log["event"], log["machine_is_ahead_s"]) for log in logs]
    assert event == "clock_put_right"
    assert abs(wrong_s - ahead.total_seconds()) < NEAR.total_seconds()


async def test_clock_that_is_set_later_is_noticed_by_a_later_connection(
    machine: Machine, clock: DatabaseClock, pool: Pool
) -> None:
    for ahead in (TEN_MINUTES, timedelta(0), -TEN_MINUTES):
        machine.ahead = ahead
        await pool.warm()

        assert is_right(clock)
    assert machine.time() < clock.now() - TEN_MINUTES + NEAR


async def test_machine_that_keeps_the_time_goes_by_its_own_clock(
    machine: Machine, clock: DatabaseClock, pool: Pool
) -> None:
    machine.ahead = timedelta(seconds=0.5)
    await pool.warm()

    before, now, after = machine.time(), clock.now(), machine.time()

    assert before <= now <= after


async def test_time_does_not_jump_to_and_fro(machine: Machine, clock: DatabaseClock, pool: Pool) -> None:
    """Each round trip tells the time a little differently."""
    machine.stands_at = datetime.now(UTC) - TEN_MINUTES
    await pool.warm()
    first = clock.now()

    await pool.warm()

    assert first > machine.stands_at
    assert clock.now() == first


async def test_without_the_database_the_machine_is_believed(machine: Machine) -> None:
    clock = DatabaseClock(machine.time)
    nowhere = make_pool("postgresql://nobody@127.0.0.1:1/nothing", pool_size=1, statement_timeout_s=1, clock=clock)

    await nowhere.warm()

    before, now, after = machine.time(), clock.now(), machine.time()
    assert before <= now <= after


class DeafClock(DatabaseClock):
    """A clock that does not understand the database."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Connection] = []

    async def hear(self, connection: Connection) -> None:
        self.asked.append(connection)
        raise psycopg.OperationalError("the connection broke")


async def test_connection_that_cannot_be_asked_is_closed(database_url: str) -> None:
    clock = DeafClock()
    pool = make_pool(database_url, pool_size=1, statement_timeout_s=60, clock=clock)

    with pytest.raises(psycopg.OperationalError, match="broke"):
        await pool.lend()

    assert [connection._driver.closed for connection in clock.asked] == [True]
    await pool.close()


async def test_ids_go_by_the_same_clock(database_url: str, machine: Machine) -> None:
    """Journals are found by the time in their ids, and proven by it."""
    corrections: list[timedelta] = []
    machine.ahead = -timedelta(days=2)
    clock = DatabaseClock(machine.time, on_correction=corrections.append)
    pool = make_pool(database_url, pool_size=1, statement_timeout_s=60, clock=clock)

    await pool.warm()

    (correction,) = corrections
    assert abs(correction - timedelta(days=2)) < NEAR
    await pool.close()
