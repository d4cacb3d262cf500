"""Each event is read once and in order, in whatever order its transactions commit."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.feed.standstill import Standstill
from domain.feed.tail import Tail
from tests.domain.feed.racing_log import RacingLog, Writer
from tests.eventually import eventually


async def positions(tail: Tail) -> list[int]:
    """Read until nothing more is there at once."""
    found: list[int] = []
    is_more = True
    while is_more:
        events, is_more = await tail.read(None)
        found += [logged.position for logged in events]
    return found


@pytest.fixture
def log() -> RacingLog:
    return RacingLog()


@pytest.fixture
def tail(log: RacingLog) -> Tail:
    return Tail(log.begin, page=3)


async def test_events_are_read_once_and_in_order(log: RacingLog, tail: Tail) -> None:
    for _ in range(7):
        log.put()

    assert await positions(tail) == [1, 2, 3, 4, 5, 6, 7]
    assert await positions(tail) == []


async def test_event_that_commits_late_is_waited_for(log: RacingLog, tail: Tail) -> None:
    slow = log.write()
    slow.append()
    log.put()
    assert await positions(tail) == []
    assert tail.waits_for_gap

    slow.commit()

    assert await positions(tail) == [1, 2]
    assert not tail.waits_for_gap


async def test_event_that_was_rolled_back_is_not_waited_for(log: RacingLog, tail: Tail) -> None:
    doomed = log.write()
    doomed.append()
    log.put()
    assert await positions(tail) == []

    doomed.roll_back()

    assert await positions(tail) == [2]


async def test_long_transaction_holds_up_only_what_stands_behind_its_own_events(
    log: RacingLog, tail: Tail
) -> None:
    log.write()
    log.put()

    assert await positions(tail) == [1]


async def test_gap_is_held_up_by_older_transactions_alone(log: RacingLog, tail: Tail) -> None:
    doomed = log.write()
    doomed.append()
    log.put()
    await positions(tail)
    log.write()
    doomed.roll_back()

    assert await positions(tail) == [2]


class Stopwatch:
    """Seconds that pass when a test says so, and what was told of them."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.told: list[float] = []
        self.standstill = Standstill(self.told.append, monotonic_s=lambda: self.now_s)


async def test_time_that_is_waited_for_a_transaction_is_told_until_it_ends(log: RacingLog) -> None:
    watch = Stopwatch()
    tail = Tail(log.begin, page=3, standstill=watch.standstill)
    log.put()
    await positions(tail)
    assert watch.told == []
    forgotten, doomed = log.write(), log.write()
    doomed.append()
    log.put()
    doomed.roll_back()

    for _ in range(3):
        assert await positions(tail) == []
        watch.now_s += 30
    assert watch.told == [0, 30, 60]
    forgotten.roll_back()

    assert await positions(tail) == [3]
    assert watch.told[-1] == 0


async def test_time_begins_anew_where_reading_came_further(log: RacingLog) -> None:
    watch = Stopwatch()
    tail = Tail(log.begin, page=9, standstill=watch.standstill)
    first, second = log.write(), log.write()
    first.append()
    second.append()
    log.put()
    await positions(tail)
    watch.now_s += 30
    first.commit()

    assert await positions(tail) == [1]
    watch.now_s += 7
    assert await positions(tail) == []

    assert watch.told == [0, 0, 7]


async def test_time_of_a_start_that_waits_is_told_as_well(log: RacingLog) -> None:
    watch = Stopwatch()
    log.put()
    forgotten = log.write()
    starting = asyncio.create_task(Tail(log.begin, page=3, standstill=watch.standstill).start())
    await asyncio.sleep(0)
    assert watch.told == [0]

    watch.now_s += 90
    await eventually(lambda: watch.told[-1] >= 90)
    forgotten.commit()
    await starting

    assert watch.told[-1] == 0


async def test_start_is_behind_what_may_still_commit(log: RacingLog, tail: Tail) -> None:
    slow = log.write()
    slow.append()
    log.put()
    starting = asyncio.create_task(tail.start())
    await asyncio.sleep(0)
    assert not starting.done()

    slow.commit()
    await starting
    log.put()

    assert await positions(tail) == [3]


@given(seed=st.integers(0, 2**32), steps=st.integers(1, 80), page=st.integers(1, 5))
def test_no_event_is_missed_repeated_or_disordered(seed: int, steps: int, page: int) -> None:
    """Whatever transactions do, and whenever the tail looks."""

    async def run() -> None:
        log, rng, seen = RacingLog(), random.Random(seed), []
        tail = Tail(log.begin, page=page)
        for _ in range(steps):
            match rng.choice(("begin", "append", "append", "end", "look")):
                case "begin":
                    log.write()
                case "append" if log.running:
                    rng.choice(log.running).append()
                case "end" if log.running:
                    _end(rng, rng.choice(log.running))
                case "look":
                    seen += await positions(tail)
        while log.running:
            _end(rng, log.running[0])
        seen += await positions(tail)
        assert seen == sorted(log.committed)

    asyncio.run(run())


def _end(rng: random.Random, writer: Writer) -> None:
    (writer.commit if rng.random() < 2 / 3 else writer.roll_back)()
