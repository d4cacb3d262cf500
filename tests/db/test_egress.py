"""The bucket of calls to Stripe: one suite for Redis and for memory, then several processes at once."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from redis.asyncio import Redis

from db.egress import Bucket, LocalBucket, RedisBucket, SharedBucket
from db.shared_state import SharedState
from tests.db.elapsed import elapse, step_back
from tests.domain.fakes import FakeMonotonic

RATE = 0.01
"""A turn each 100 s, of which one may come at once with the first: far apart beside what passes meanwhile."""
TURN_S = 100
Elapse = Callable[[float], Awaitable[None]]


@pytest.fixture(autouse=True)
def burst_of_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("db.egress._BURST_S", TURN_S)


@pytest.fixture
def monotonic() -> FakeMonotonic:
    return FakeMonotonic()


@pytest.fixture
def pass_time(redis: Redis, monotonic: FakeMonotonic) -> Elapse:
    return partial(elapse, redis, monotonic)


@pytest.fixture(params=["fleet", "alone"])
def bucket(request: pytest.FixtureRequest, redis: Redis, monotonic: FakeMonotonic) -> Bucket:
    if request.param == "fleet":
        return RedisBucket(redis, rate_per_second=RATE)
    return LocalBucket(rate_per_second=RATE, clock=monotonic)


def near(*turns: float) -> object:
    # Redis' own clock goes on while the test runs.
    return pytest.approx([turn * TURN_S for turn in turns], abs=0.3 * TURN_S)


async def test_turns_follow_each_other_at_the_rate(bucket: Bucket) -> None:
    turns = await bucket.take(4, longest_wait_s=10 * TURN_S)

    assert turns.granted == near(0, 0, 1, 2)
    assert turns.rest == ()


async def test_next_caller_comes_after_the_ones_before(bucket: Bucket) -> None:
    await bucket.take(4, longest_wait_s=10 * TURN_S)

    assert (await bucket.take(2, longest_wait_s=10 * TURN_S)).granted == near(3, 4)


async def test_unused_time_is_not_saved_up(bucket: Bucket, pass_time: Elapse) -> None:
    await bucket.take(4, longest_wait_s=10 * TURN_S)
    await pass_time(1_000 * TURN_S)

    assert (await bucket.take(4, longest_wait_s=10 * TURN_S)).granted == near(0, 0, 1, 2)


async def test_who_would_wait_too_long_gets_a_place_in_line(bucket: Bucket) -> None:
    turns = await bucket.take(15, longest_wait_s=10 * TURN_S)
    later = await bucket.take(2, longest_wait_s=10 * TURN_S)

    assert len(turns.granted) == 12
    assert turns.rest == near(10, 11, 12)
    assert later.granted == ()
    assert later.rest == near(13, 14)


async def test_line_moves_on_with_time(bucket: Bucket, pass_time: Elapse) -> None:
    await bucket.take(15, longest_wait_s=10 * TURN_S)
    await pass_time(20 * TURN_S)

    turns = await bucket.take(14, longest_wait_s=10 * TURN_S)

    assert len(turns.granted) == 12
    assert turns.rest == near(10, 11)


async def test_more_patient_callers_get_turns_where_others_do_not(bucket: Bucket) -> None:
    await bucket.take(20, longest_wait_s=10 * TURN_S)

    urgent = await bucket.take(3, longest_wait_s=20 * TURN_S)
    charge = await bucket.take(1, longest_wait_s=10 * TURN_S)

    assert urgent.granted == near(11, 12, 13)
    assert charge.granted == ()


async def test_fleet_shares_one_rate(redis: Redis) -> None:
    async def take() -> tuple[float, ...]:
        bucket = RedisBucket(redis, rate_per_second=10 * RATE)
        return (await bucket.take(30, longest_wait_s=10 * TURN_S)).granted

    turns = await asyncio.gather(*(take() for _ in range(10)))

    # What the rate has for the longest wait, the burst, and the little time that passed meanwhile.
    assert 111 <= sum(len(granted) for granted in turns) < 120


async def test_process_that_cannot_reach_redis_keeps_its_share(
    lost_redis: Redis, monotonic: FakeMonotonic
) -> None:
    failures: list[int] = []
    bucket = SharedBucket(
        RedisBucket(lost_redis, rate_per_second=100),
        LocalBucket(rate_per_second=RATE, clock=monotonic),
        SharedState(on_failure=lambda: failures.append(1)),
    )

    turns = [await bucket.take(2, longest_wait_s=10 * TURN_S) for _ in range(2)]

    assert [each.granted for each in turns] == [near(0, 0), near(1, 2)]
    assert len(failures) == 2


async def test_clock_of_redis_that_goes_back_stops_nobody(redis: Redis) -> None:
    bucket = RedisBucket(redis, rate_per_second=RATE)
    await bucket.take(20, longest_wait_s=TURN_S)
    await step_back(redis, 36_000)

    turns = await bucket.take(4, longest_wait_s=TURN_S)

    assert turns.granted == near(0, 0, 1)
    assert turns.rest == near(1)
