"""The way out to Stripe: what the gate lets through, and what each call may do."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from redis.asyncio import Redis

from db.breaker import Passage
from db.breaker_rules import BreakerPolicy
from domain.settlement.answers import Throttled
from tests.db.elapsed import elapse
from tests.domain.fakes import FakeMonotonic
from tests.eventually import eventually
from workers.stripe_egress import StripeEgress

FRESH_S = 0.3
Elapse = Callable[[float], Awaitable[None]]


@pytest.fixture
def pass_time(redis: Redis, monotonic: FakeMonotonic) -> Elapse:
    return partial(elapse, redis, monotonic)


async def break_stripe(egress: StripeEgress) -> None:
    for _ in range(5):
        await egress.leave(Passage(), healthy=False)


async def questions(redis: Redis) -> int:
    """How often Redis was asked by a script."""
    return int((await redis.info("commandstats"))["cmdstat_evalsha"]["calls"])


async def test_without_a_rate_everything_goes(egress_of: Callable[..., StripeEgress]) -> None:
    egress = egress_of()

    assert list(await egress.admit(10_000, urgent=False)) == []
    assert await egress.enter(urgent=False) == Passage()


async def test_rows_beyond_the_rate_wait_for_their_place_in_line(egress_of: Callable[..., StripeEgress]) -> None:
    egress = egress_of(rate=10)

    waits = await egress.admit(20, urgent=False)

    assert len(waits) == 8
    assert list(waits) == sorted(waits)
    assert waits[-1] - waits[0] == pytest.approx(0.7)


async def test_calls_use_the_turns_of_their_rows(
    egress_of: Callable[..., StripeEgress], redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.stripe_egress._TURN_KEPT_S", 3_600)
    egress = egress_of(rate=1000)
    await egress.admit(50, urgent=False)
    before = await questions(redis)

    passages = await asyncio.gather(*(egress.enter(urgent=False) for _ in range(50)))

    assert passages == [Passage()] * 50
    assert await questions(redis) == before
    await egress.enter(urgent=False)
    assert await questions(redis) == before + 1


async def test_calls_that_wait_at_once_take_their_turns_in_few_questions(
    egress_of: Callable[..., StripeEgress], redis: Redis
) -> None:
    egress = egress_of(rate=10_000)
    await egress.enter(urgent=False)
    before = await questions(redis)

    await asyncio.gather(*(egress.enter(urgent=False) for _ in range(500)))

    assert await questions(redis) <= before + 2


async def test_call_without_a_turn_comes_back_later(egress_of: Callable[..., StripeEgress]) -> None:
    egress, other = (egress_of(rate=0.01) for _ in range(2))
    waits = await other.admit(100, urgent=False)

    answer = await egress.enter(urgent=False)

    assert isinstance(answer, Throttled)
    assert answer.retry_after_s is not None
    assert answer.retry_after_s > waits[-1]


async def test_urgent_calls_are_made_while_charges_wait(egress_of: Callable[..., StripeEgress]) -> None:
    waits: list[float] = []
    egress, other = (egress_of(rate=0.02, longest_wait_s=1_000, on_wait=waits.append) for _ in range(2))
    await other.admit(1000, urgent=False)

    charge, refund = (asyncio.create_task(egress.enter(urgent=urgent)) for urgent in (False, True))

    assert isinstance(await charge, Throttled)
    await eventually(lambda: waits)
    assert 900 < waits[0] < 2_000, "the refund has a turn, behind those of the charges"
    assert list(await other.admit(1, urgent=True)) == []
    refund.cancel()
    await asyncio.gather(refund, return_exceptions=True)


async def test_open_breaker_lets_no_row_through_and_brings_one_back_first(
    egress_of: Callable[..., StripeEgress],
) -> None:
    egress = egress_of()
    await break_stripe(egress)

    waits = await egress.admit(4, urgent=True)

    assert len(waits) == 4
    assert 20 < waits[0] <= 30
    assert set(waits[1:]) == {waits[0] + 2}
    answer = await egress.enter(urgent=True)
    assert isinstance(answer, Throttled)
    assert answer.reason == "breaker: open"


async def test_half_open_breaker_lets_one_row_through(
    egress_of: Callable[..., StripeEgress], pass_time: Elapse
) -> None:
    egress = egress_of()
    await break_stripe(egress)
    await pass_time(30)

    waits = await egress.admit(4, urgent=False)
    trial = await egress.enter(urgent=False)

    assert len(waits) == 3
    assert isinstance(trial, Passage)
    assert trial.trial
    assert len(await egress.admit(4, urgent=False)) == 4
    await egress.leave(trial, healthy=True)
    assert list(await egress.admit(4, urgent=False)) == []


async def test_trial_without_a_turn_leaves_the_trial_to_another(
    egress_of: Callable[..., StripeEgress], pass_time: Elapse
) -> None:
    egress, unlimited = egress_of(rate=1), egress_of()
    await break_stripe(egress)
    await pass_time(30)
    await egress_of(rate=1)._bucket.take(10, longest_wait_s=10)  # type: ignore[union-attr]  # it has a rate

    answer = await egress.enter(urgent=False)

    assert isinstance(answer, Throttled)
    assert answer.reason == "no turn"
    trial = await unlimited.enter(urgent=False)
    assert isinstance(trial, Passage)
    assert trial.trial


async def test_trial_that_is_cut_off_while_it_waits_is_another_s(
    egress_of: Callable[..., StripeEgress], pass_time: Elapse, redis: Redis, monotonic: FakeMonotonic
) -> None:
    waits: list[float] = []
    egress, unlimited = egress_of(rate=0.01, longest_wait_s=1_000, on_wait=waits.append), egress_of()
    await break_stripe(egress)
    await pass_time(30)
    await egress_of(rate=0.01)._bucket.take(1, longest_wait_s=10)  # type: ignore[union-attr]  # it has a rate
    waiting = asyncio.create_task(egress.enter(urgent=True))
    await eventually(lambda: waits)
    assert await redis.exists("stripe:breaker:trial")

    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    async def is_free() -> bool:
        monotonic.now_s += FRESH_S
        return isinstance(await unlimited.enter(urgent=False), Passage)

    await eventually(is_free, deadline_s=BreakerPolicy().trial_s / 2)
