"""Word of changes reaches whoever waits, over one connection; and nothing depends on it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from db.changes import CHANNEL, ChangeListener, ChangePublisher
from ops.stack import Stack
from tests.eventually import eventually
from tests.faults.proxy import Proxy

LONG_S = 30.0


@pytest.fixture
async def redis(valkey: Stack) -> AsyncIterator[Redis]:
    async with Redis.from_url(valkey.info.redis_url, socket_timeout=LONG_S) as client:
        yield client


@pytest.fixture
async def away(closed_port: int) -> AsyncIterator[Redis]:
    async with Redis.from_url(f"redis://127.0.0.1:{closed_port}", socket_timeout=0.5) as client:
        yield client


@pytest.fixture
async def listener(redis: Redis) -> AsyncIterator[ChangeListener]:
    listener = ChangeListener(redis)
    with listener.watch():
        await eventually(lambda: listener.is_live)
    yield listener
    await listener.close()


@pytest.fixture
def lost() -> list[int]:
    return []


@pytest.fixture
def publisher(redis: Redis, lost: list[int]) -> ChangePublisher:
    return ChangePublisher(redis, on_lost=lost.append)


async def test_change_wakes_those_who_watch_its_subject(
    listener: ChangeListener, publisher: ChangePublisher
) -> None:
    mine, other = uuid4(), uuid4()
    with listener.watch(mine) as watch, listener.watch(mine) as too, listener.watch(other) as stranger:
        publisher.publish([uuid4(), mine, uuid4()])

        assert await watch.changed(LONG_S)
        assert await too.changed(LONG_S)
        assert not await stranger.changed(0)


async def test_change_of_anything_wakes_those_who_watch_all(
    listener: ChangeListener, publisher: ChangePublisher
) -> None:
    with listener.watch() as watch:
        publisher.publish([uuid4()])

        assert await watch.changed(LONG_S)
        assert not await watch.changed(0)


async def test_change_before_the_wait_is_not_missed(listener: ChangeListener, publisher: ChangePublisher) -> None:
    subject, later = uuid4(), uuid4()
    with listener.watch(subject) as watch, listener.watch(later) as probe:
        publisher.publish([subject])
        publisher.publish([later])
        assert await probe.changed(LONG_S)

        assert await watch.changed(0)


async def test_changes_of_a_moment_share_a_message(redis: Redis, publisher: ChangePublisher) -> None:
    subjects = [uuid4() for _ in range(200)]
    async with redis.pubsub(ignore_subscribe_messages=True) as heard:
        await heard.subscribe(CHANNEL)
        await eventually(lambda: redis.execute_command("PUBSUB", "NUMSUB", CHANNEL))
        for subject in subjects:
            publisher.publish([subject])
        await publisher.drain()

        messages = []
        while sum(len(message) for message in messages) < 16 * len(subjects):
            if (message := await heard.get_message(timeout=LONG_S)) is not None:
                messages.append(message["data"])

    assert len(messages) <= 2
    told = b"".join(messages)
    assert {told[n : n + 16] for n in range(0, len(told), 16)} == {subject.bytes for subject in subjects}


async def test_thousand_watches_share_a_connection(redis: Redis, listener: ChangeListener) -> None:
    before = await redis.client_list(_type="pubsub")
    with contextlib.ExitStack() as watches:
        for _ in range(1_000):
            watches.enter_context(listener.watch(uuid4()))

        assert len(await redis.client_list(_type="pubsub")) == len(before)
    assert len(listener._watches) == 0


async def test_publishing_without_redis_loses_word_and_nothing_else(away: Redis, lost: list[int]) -> None:
    publisher = ChangePublisher(away, on_lost=lost.append)

    publisher.publish([uuid4(), uuid4()])
    await publisher.drain()

    assert sum(lost) == 2


async def test_untold_changes_do_not_pile_up(
    away: Redis, lost: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.changes._MAX_IDS", 10)
    publisher = ChangePublisher(away, on_lost=lost.append)

    for _ in range(100):
        publisher.publish([uuid4()])

    assert len(publisher._gathered) <= 10
    await publisher.drain()
    assert sum(lost) == 100


async def test_lost_connection_wakes_everybody_and_comes_back(redis: Redis, listener: ChangeListener) -> None:
    with listener.watch(uuid4()) as watch:
        await redis.client_kill_filter(_type="pubsub")

        assert await watch.changed(LONG_S)
        await eventually(lambda: listener.is_live)


async def test_without_redis_nobody_is_told_that_word_comes(away: Redis) -> None:
    listener = ChangeListener(away)
    with listener.watch(uuid4()) as watch:
        assert not await watch.changed(0.05)
        assert not listener.is_live
    await listener.close()


async def test_silent_connection_is_given_up(valkey: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("db.changes._QUIET_S", 0.1)
    url = urlsplit(valkey.info.redis_url)
    with Proxy(url.port or 0) as proxy:
        through = url._replace(netloc=url.netloc.replace(f":{url.port}", f":{proxy.port}")).geturl()
        async with Redis.from_url(through, socket_timeout=0.5) as redis:
            listener = ChangeListener(redis)
            with listener.watch():
                await eventually(lambda: listener.is_live)
                with proxy.black_hole():
                    await eventually(lambda: not listener.is_live)

                await eventually(lambda: listener.is_live)
            await listener.close()


async def test_released_waiters_go(listener: ChangeListener) -> None:
    with listener.watch(uuid4()) as watch, listener.watch() as of_all:
        waiting = [asyncio.create_task(each.changed(LONG_S)) for each in (watch, of_all)]
        listener.release()

        assert await asyncio.gather(*waiting) == [True, True]
    assert listener.is_released
