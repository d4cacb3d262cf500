"""What a client of Redis meets when its connection is reset, on the event loop that API and workers run on."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
import uvloop
from redis.asyncio import Redis
from redis.exceptions import RedisError

from db.redis_client import make_redis
from ops.stack import Stack
from tests.faults.proxy import Proxy


@pytest.fixture
def proxy(valkey: Stack) -> Iterator[Proxy]:
    with Proxy(urlsplit(valkey.info.redis_url).port or 0) as proxy:
        yield proxy


async def use(valkey: Stack, proxy: Proxy, act: Callable[[Redis], Awaitable[None]]) -> None:
    """Run on a loop of its own: that of the tests is not uvloop's."""
    parts = urlsplit(valkey.info.redis_url)
    url = parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{proxy.port}")).geturl()

    async def run() -> None:
        async with make_redis(url, timeout_s=5) as redis:
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
