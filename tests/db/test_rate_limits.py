"""Over minutes a user passes exactly as often as the limit says, through however many processes."""

import random
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from db.rate_limits import Hit, RateLimits
from ops.stack import Stack

PER_MINUTE, BURST, PROCESSES = 1_000, 200, 4


class Time:
    """The one clock of several processes."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
async def redis(valkey: Stack) -> AsyncIterator[Redis]:
    async with Redis.from_url(valkey.info.redis_url) as client:
        yield client


def refuse_to_guess(count: int) -> None:
    pytest.fail(f"{count} requests passed uncounted")


class Fleet:
    """API processes among which a user's requests fall by chance."""

    def __init__(self, redis: Redis) -> None:
        self.clock = Time()
        self.random = random.Random(8)
        self.processes = [
            RateLimits(redis, on_failure=refuse_to_guess, clock_s=self.clock) for _ in range(PROCESSES)
        ]
        self.hit = Hit(f"user:{uuid4()}", PER_MINUTE, BURST)

    async def passes(self) -> bool:
        process = self.random.choice(self.processes)
        verdict = process.spend(self.hit) or (await process.hit([self.hit]))[0]
        return verdict.allowed

    async def exhaust_the_burst(self) -> None:
        """Send more than the burst at once: what Redis keeps of a few requests it forgets by its own clock."""
        share = BURST // PROCESSES + 10
        verdicts = [verdict for process in self.processes for verdict in await process.hit([self.hit] * share)]
        assert sum(verdict.allowed for verdict in verdicts) == BURST

    async def send(self, per_minute: int, minutes: float) -> int:
        """Send requests at that rate, each a little before or after its time; return how many passed."""
        number, began = round(per_minute * minutes), self.clock.now_s
        moments = sorted(60 / per_minute * (each + self.random.random()) for each in range(number))
        passed = 0
        for moment in moments:
            self.clock.now_s = began + moment
            passed += await self.passes()
        self.clock.now_s = began + 60 * minutes
        return passed


@pytest.mark.parametrize("per_minute", [1_100, 2_000])
async def test_who_asks_too_often_passes_as_often_as_the_limit_says(redis: Redis, per_minute: int) -> None:
    fleet = Fleet(redis)
    await fleet.exhaust_the_burst()

    passed = await fleet.send(per_minute, minutes=2)

    assert passed == pytest.approx(2 * PER_MINUTE, rel=0.01)


async def test_who_asks_as_often_as_the_limit_says_is_not_refused(redis: Redis) -> None:
    """What a process counted and did not spend in time would be lost: not more than a hundredth may be."""
    fleet = Fleet(redis)
    await fleet.exhaust_the_burst()
    await fleet.send(1, minutes=1 / 6)

    passed = await fleet.send(PER_MINUTE, minutes=2)

    assert passed >= 0.99 * 2 * PER_MINUTE


async def test_never_more_is_left_than_the_burst_allows(redis: Redis) -> None:
    clock, hit = Time(), Hit(f"user:{uuid4()}", PER_MINUTE, BURST)
    limits = RateLimits(redis, on_failure=refuse_to_guess, clock_s=clock)
    left = []
    for pause_s in (0, 0, 600):
        clock.now_s += pause_s
        verdict = limits.spend(hit) or (await limits.hit([hit]))[0]
        left.append(verdict.remaining)

    assert left[0] == BURST - 1
    assert max(left) == BURST - 1


async def test_clock_that_goes_back_refuses_nobody_who_keeps_to_the_limit(redis: Redis) -> None:
    fleet = Fleet(redis)
    await fleet.exhaust_the_burst()
    fleet.clock.now_s -= 36_000

    passed = await fleet.send(PER_MINUTE, minutes=1)

    assert passed >= 0.99 * PER_MINUTE
