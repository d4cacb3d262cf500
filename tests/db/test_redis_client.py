"""What a client of Redis meets when its connection is reset, on the event loop that API and workers run on."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
import uvloop
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from db.redis_client import make_redis
from ops.stack import Stack
from tests.eventually import eventually
from tests.faults.proxy import Proxy


@pytest.fixture
def proxy(valkey: Stack) -> Iterator[Proxy]:
    with Proxy(urlsplit(valkey.info.redis_url).port or 0) as proxy:
        yield proxy


_POOL_SIZE = 5


async def use(
    valkey: Stack, proxy: Proxy, act: Callable[[Redis], Awaitable[None]], *, timeout_s: float = 60.0
) -> None:
    """Run on a loop of its own: that of the tests is not uvloop's."""
    parts = urlsplit(valkey.info.redis_url)
    url = parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{proxy.port}")).geturl()

    async def run() -> None:
        async with make_redis(url, timeout_s=timeout_s, pool_size=_POOL_SIZE) as redis:
            await act(redis)

    await asyncio.to_thread(uvloop.run, run())


async def test_connection_that_was_reset_is_an_error_of_redis_once(valkey: Stack, proxy: Proxy) -> None:
    async def act(redis: Redis) -> None:
        for _ in range(5):
            assert await redis.ping()
            assert proxy.reset()
            await asyncio.sleep(0.02)  # until the loop has heard of it: it is what refuses to write afterwards
            with suppress(RedisError):
                await redis.ping()

    await use(valkey, proxy, act)


async def test_connections_that_ended_while_nobody_used_them_fail_nobody(valkey: Stack, proxy: Proxy) -> None:
    async def act(redis: Redis) -> None:
        await asyncio.gather(*(redis.ping() for _ in range(_POOL_SIZE)))
        idle = list(redis.connection_pool._available_connections)
        assert len(idle) == _POOL_SIZE
        proxy.cut()
        await eventually(lambda: all(each._reader.at_eof() for each in idle))

        assert all(await asyncio.gather(*(redis.ping() for _ in range(_POOL_SIZE))))

    await use(valkey, proxy, act)


async def test_reset_while_much_is_said_is_an_error_of_redis(valkey: Stack, proxy: Proxy) -> None:
    async def ask(redis: Redis) -> None:
        for _ in range(200):
            try:
                await redis.ping()
            except RedisError:
                await asyncio.sleep(0)

    async def act(redis: Redis) -> None:
        asking = [asyncio.create_task(ask(redis)) for _ in range(5)]
        while not all(task.done() for task in asking):
            proxy.reset()
            await asyncio.sleep(0.002)
        await asyncio.gather(*asking)

    await use(valkey, proxy, act)


async def test_more_who_ask_than_connections_wait_for_one(valkey: Stack, proxy: Proxy) -> None:
    async def act(redis: Redis) -> None:
        answers = await asyncio.gather(*(redis.ping() for _ in range(20 * _POOL_SIZE)))
        assert all(answers)
        assert proxy.reset() == _POOL_SIZE  # it says how many it had

    await use(valkey, proxy, act)


async def test_who_finds_no_connection_in_time_is_told_so_by_an_error_of_redis(
    valkey: Stack, proxy: Proxy
) -> None:
    async def act(redis: Redis) -> None:
        async def lend() -> AbstractConnection | None:
            with suppress(RedisError):  # so little time may be too little for a connection, too
                return await redis.connection_pool.get_connection()
            return None

        async def answers() -> bool:
            with suppress(RedisError):
                return bool(await redis.ping())
            return False

        held = [await eventually(lend) for _ in range(_POOL_SIZE)]
        with pytest.raises(RedisError):
            await redis.ping()
        await redis.connection_pool.release(held.pop())
        assert await eventually(answers)
        for connection in held:
            await redis.connection_pool.release(connection)

    await use(valkey, proxy, act, timeout_s=0.2)


async def test_connection_that_was_meant_for_who_gives_up_is_lent_to_the_next(valkey: Stack, proxy: Proxy) -> None:
    async def act(redis: Redis) -> None:
        pool: BlockingConnectionPool = redis.connection_pool
        held = [await pool.get_connection() for _ in range(_POOL_SIZE)]
        meant, following = (asyncio.ensure_future(redis.ping()) for _ in range(2))
        await eventually(lambda: len(pool._condition._waiters) == 2)

        await pool.release(held.pop())
        meant.cancel()

        async with asyncio.timeout(30):
            assert await following
        for connection in held:
            await pool.release(connection)

    await use(valkey, proxy, act)
