"""Time that passes for what is kept in Redis under the server's own clock."""

from redis.asyncio import Redis

from tests.domain.fakes import FakeMonotonic

_US_PER_S = 1_000_000


async def elapse(redis: Redis, clock: FakeMonotonic, seconds: float) -> None:
    """Let time pass for a process, and in Redis: there every kept time moves as far into the past."""
    clock.now_s += seconds
    for key in await redis.keys("stripe:*"):
        left_ms = await redis.pttl(key)
        if 0 < left_ms <= seconds * 1000:
            await redis.delete(key)
            continue
        if left_ms > 0:
            await redis.pexpire(key, left_ms - int(seconds * 1000))
        if await redis.type(key) == b"list":
            times = await redis.lrange(key, 0, -1)
            for position, time_us in enumerate(times):
                await redis.lset(key, position, str(int(time_us) - int(seconds * _US_PER_S)))
        elif (value := await redis.get(key)) is not None and value.isdigit():
            await redis.set(key, str(int(value) - int(seconds * _US_PER_S)), keepttl=True)


async def step_back(redis: Redis, seconds: float) -> None:
    """Set Redis' clock back: every kept time, the ends of keys too, moves as far into the future."""
    await elapse(redis, FakeMonotonic(), -seconds)
