"""Everybody who follows gets the own events, in order, none twice and none missing."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from uuid import uuid4

import pytest

from domain.errors import RateLimited, Unavailable
from domain.feed.model import LoggedEvent
from domain.feed.service import EventFeed
from domain.feed.subscription import MAX_BUFFERED, Subscription
from domain.identity.model import Principal, Role
from domain.ids import UserId
from tests.domain.feed.racing_log import RacingLog
from tests.eventually import eventually

LONG_S = 30.0
ANN = Principal(UserId(uuid4()), Role.BUYER)
BEN = Principal(UserId(uuid4()), Role.SELLER)
FINN = Principal(UserId(uuid4()), Role.FINANCE)


class Bell:
    """Word of changes, rung by hand."""

    def __init__(self) -> None:
        self.is_live = True
        self._rung = asyncio.Event()

    @contextmanager
    def watch(self) -> Iterator["Bell"]:
        yield self

    def wake(self) -> None:
        self._rung.set()

    async def changed(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks without word, and everything else takes no time."""
    for name, seconds in {"LIVE_PAUSE": 1_000, "GATHER": 0, "GAP_PAUSE": 0.001, "RETRY": 0.001}.items():
        monkeypatch.setattr(f"domain.feed.service._{name}_S", seconds)


@pytest.fixture
def log() -> RacingLog:
    return RacingLog()


@pytest.fixture
def bell() -> Bell:
    return Bell()


def render(logged: LoggedEvent) -> bytes:
    return str(logged.position).encode()


@pytest.fixture
async def feed(log: RacingLog, bell: Bell) -> AsyncIterator[EventFeed]:
    feed = EventFeed(log.begin, bell, render, max_readers=3, max_readers_per_user=2)
    yield feed
    await feed.close()


async def taken(subscription: Subscription, count: int) -> list[int]:
    """Take that many events."""
    found: list[int] = []
    async with asyncio.timeout(LONG_S):
        while len(found) < count and not subscription.is_over:
            found += [item.position for item in await subscription.take(LONG_S)]
    return found


async def begun(subscription: Subscription) -> Subscription:
    assert await subscription.begun(LONG_S)
    return subscription


async def test_each_follows_the_own_events_and_finance_all(feed: EventFeed, log: RacingLog, bell: Bell) -> None:
    with feed.subscribe(ANN, None) as ann, feed.subscribe(BEN, None) as ben, feed.subscribe(FINN, None) as finn:
        for each in (ann, ben, finn):
            await begun(each)
        log.put(ANN.user_id)
        log.put(ANN.user_id, BEN.user_id)
        log.put()
        log.put(BEN.user_id)
        bell.wake()

        assert await taken(ann, 2) == [1, 2]
        assert await taken(ben, 2) == [2, 4]
        assert await taken(finn, 4) == [1, 2, 3, 4]


async def test_nothing_is_waited_for_once_nobody_follows(log: RacingLog, bell: Bell) -> None:
    told: list[float] = []
    feed = EventFeed(log.begin, bell, render, max_readers=3, max_readers_per_user=2, on_wait=told.append)
    with feed.subscribe(ANN, None) as ann:
        await begun(ann)
        doomed = log.write()
        doomed.append()
        log.put(ANN.user_id)
        bell.wake()
        assert await eventually(lambda: bool(told) and told[-1] > 0)

    assert await eventually(lambda: told[-1] == 0)
    await feed.close()


async def test_new_reader_gets_what_is_committed_after_it_began(
    feed: EventFeed, log: RacingLog, bell: Bell
) -> None:
    log.put(ANN.user_id)
    slow = log.write()
    slow.append(ANN.user_id)
    log.put(ANN.user_id)
    with feed.subscribe(ANN, None) as ann:
        assert not await ann.begun(0.01)
        slow.commit()
        await begun(ann)
        log.put(ANN.user_id)
        bell.wake()

        assert await taken(ann, 1) == [4]


async def test_reader_that_comes_back_gets_what_it_missed_and_what_follows(
    feed: EventFeed, log: RacingLog, bell: Bell
) -> None:
    for _ in range(5):
        log.put(ANN.user_id)
        log.put(BEN.user_id)
    with feed.subscribe(ANN, 3) as ann:
        assert await taken(ann, 3) == [5, 7, 9]
        log.put(ANN.user_id)
        bell.wake()

        assert await taken(ann, 1) == [11]


async def test_long_absence_is_read_again_in_parts(
    feed: EventFeed, log: RacingLog, bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domain.feed.replays._PAGE", 3)
    monkeypatch.setattr("domain.feed.replays._WINDOW", 10)
    wanted = [log.put(*([ANN.user_id] if n % 7 < 3 else [])).position for n in range(100)]
    with feed.subscribe(ANN, 0) as ann, feed.subscribe(BEN, 0) as ben, feed.subscribe(FINN, 42) as finn:
        mine = [position for n, position in enumerate(wanted) if n % 7 < 3]

        assert await taken(ann, len(mine)) == mine
        assert await taken(finn, 58) == wanted[42:]
        assert await ben.take(0.05) == ()
        assert ben.position == 100


async def test_nothing_is_missing_or_twice_while_readers_come_and_events_happen(
    log: RacingLog, bell: Bell
) -> None:
    feed = EventFeed(log.begin, bell, render, max_readers=100, max_readers_per_user=100)
    with ExitStack() as readers:
        followers: list[tuple[int, Subscription]] = []
        for number in range(30):
            log.put(ANN.user_id)
            followers.append((number // 2, readers.enter_context(feed.subscribe(ANN, number // 2))))
            late = log.write()
            late.append(ANN.user_id)
            log.put(BEN.user_id)
            bell.wake()
            await asyncio.sleep(0)
            late.commit()
        bell.wake()
        mine = sorted(p for p, logged in log.committed.items() if logged.concerns(ANN))

        for after, subscription in followers:
            wanted = [position for position in mine if position > after]
            assert await taken(subscription, len(wanted)) == wanted
    await feed.close()


async def test_reader_ahead_of_this_process_gets_nothing_twice(
    feed: EventFeed, log: RacingLog, bell: Bell
) -> None:
    log.put(ANN.user_id)
    with feed.subscribe(ANN, 2) as ann:
        await begun(ann)
        log.put(ANN.user_id)
        log.put(ANN.user_id)
        bell.wake()

        assert await taken(ann, 1) == [3]


async def test_place_behind_the_end_of_the_log_is_its_end(feed: EventFeed, log: RacingLog, bell: Bell) -> None:
    log.put(ANN.user_id)
    after = await feed.place(1_000)
    with feed.subscribe(ANN, after) as ann:
        await begun(ann)
        log.put(ANN.user_id)
        bell.wake()

        assert await taken(ann, 1) == [2]


async def test_place_in_the_log_is_kept_however_far_this_process_has_read(
    feed: EventFeed, log: RacingLog, bell: Bell
) -> None:
    log.put(ANN.user_id)
    with feed.subscribe(ANN, None) as ann:
        await begun(ann)
        log.put(ANN.user_id)
        assert feed.tail_position == 1

        assert [await feed.place(after) for after in (None, 0, 1, 2, 3)] == [None, 0, 1, 2, None]


async def test_many_who_are_ahead_share_a_look_at_the_end(feed: EventFeed, log: RacingLog) -> None:
    assert await asyncio.gather(*(feed.place(7) for _ in range(3))) == [None] * 3

    assert log.looks_at_the_end == 1


async def test_place_moves_on_while_nothing_concerns_the_reader(
    feed: EventFeed, log: RacingLog, bell: Bell
) -> None:
    with feed.subscribe(ANN, None) as ann, feed.subscribe(FINN, None) as finn:
        await begun(ann)
        await begun(finn)
        log.put(BEN.user_id)
        bell.wake()
        await taken(finn, 1)

        assert await ann.take(0) == ()
        assert ann.position == 1


async def test_slow_reader_is_cut_and_the_others_are_not(feed: EventFeed, log: RacingLog, bell: Bell) -> None:
    with feed.subscribe(ANN, None) as slow, feed.subscribe(BEN, None) as quick:
        await begun(slow)
        await begun(quick)
        for _ in range(MAX_BUFFERED + 1):
            log.put(ANN.user_id, BEN.user_id)
        bell.wake()

        assert await taken(quick, MAX_BUFFERED + 1) == list(range(1, MAX_BUFFERED + 2))
        assert slow.is_over
        assert slow._buffer == []


async def test_broken_database_delays_and_loses_nothing(feed: EventFeed, log: RacingLog, bell: Bell) -> None:
    with feed.subscribe(ANN, None) as ann:
        await begun(ann)
        log.away = True
        log.put(ANN.user_id)
        bell.wake()
        assert await ann.take(0.02) == ()
        log.away = False

        assert await taken(ann, 1) == [1]


async def test_failing_feed_ends_its_streams_and_begins_anew(
    feed: EventFeed, log: RacingLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken, feed.subscribe(ANN, None) as ann:
        broken.setattr(log, "look", None)

        await eventually(lambda: ann.is_over)
    with feed.subscribe(ANN, None) as again:
        await begun(again)


async def test_released_feed_ends_its_streams(feed: EventFeed) -> None:
    with feed.subscribe(ANN, None) as ann:
        taking = asyncio.create_task(ann.take(LONG_S))
        await begun(ann)
        feed.release()

        assert await taking == ()
        assert ann.is_over
    with feed.subscribe(ANN, None) as late:
        assert late.is_over


async def test_log_is_left_alone_while_nobody_follows(feed: EventFeed, log: RacingLog, bell: Bell) -> None:
    with feed.subscribe(ANN, None) as ann:
        await begun(ann)
    bell.wake()
    await eventually(lambda: feed._runner is not None and feed._runner.done())
    assert len(feed) == len(feed._live) == len(feed._readers_of) == 0


def test_readers_are_bounded_for_a_user_and_in_all(log: RacingLog) -> None:
    feed = EventFeed(log.begin, Bell(), render, max_readers=3, max_readers_per_user=2)
    feed._readers_of[ANN.user_id] = 2
    with pytest.raises(RateLimited):
        feed.check_room(ANN)
    feed._readers = {object(), object(), object()}  # type: ignore[arg-type]
    with pytest.raises(Unavailable):
        feed.check_room(BEN)
