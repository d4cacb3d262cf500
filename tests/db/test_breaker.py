"""The circuit breaker: one suite for its rules in Redis and in memory, then several processes at once.

Redis' own clock goes on while a test runs; nothing here depends on less than ten seconds of it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from redis.asyncio import Redis

from db.breaker import Blocked, Breaker, Passage
from db.breaker_rules import BreakerPolicy, LocalRules, RedisRules, Rules, Verdict
from db.shared_state import SharedState
from tests.db.elapsed import elapse, step_back
from tests.domain.fakes import FakeMonotonic
from tests.eventually import eventually

POLICY = BreakerPolicy(failures=5, window_s=60, open_s=30, trial_s=15)
FRESH_S = 0.3
Elapse = Callable[[float], Awaitable[None]]


@pytest.fixture
def monotonic() -> FakeMonotonic:
    return FakeMonotonic()


@pytest.fixture
def pass_time(redis: Redis, monotonic: FakeMonotonic) -> Elapse:
    return partial(elapse, redis, monotonic)


@pytest.fixture(params=["fleet", "alone"])
def rules(request: pytest.FixtureRequest, redis: Redis, monotonic: FakeMonotonic) -> Rules:
    return RedisRules(redis, POLICY) if request.param == "fleet" else LocalRules(POLICY, clock=monotonic)


@pytest.fixture
def process(redis: Redis, monotonic: FakeMonotonic) -> Callable[..., Breaker]:
    """Return a breaker as another process has it."""

    def start(client: Redis = redis) -> Breaker:
        state = SharedState(on_failure=lambda: None)
        return Breaker(RedisRules(client, POLICY), LocalRules(POLICY, clock=monotonic), state, clock=monotonic)

    return start


async def fail(rules: Rules, times: int) -> float:
    """Fail so many calls; return for how long the breaker is open then."""
    return [await rules.fail("") for _ in range(times)][-1]


async def half_open(rules: Rules, pass_time: Elapse) -> None:
    await fail(rules, 5)
    await pass_time(30)


async def test_breaker_opens_at_the_fifth_failure(rules: Rules) -> None:
    assert await fail(rules, 4) == 0
    assert await rules.enter("one") == Verdict("closed")

    assert await fail(rules, 1) == 30

    verdict = await rules.enter("one")
    assert verdict.word == "open"
    assert 20 < verdict.wait_s <= 30


async def test_failures_further_apart_than_the_window_do_not_open_it(rules: Rules, pass_time: Elapse) -> None:
    await fail(rules, 1)
    await pass_time(31)
    await fail(rules, 3)
    await pass_time(30)

    assert await fail(rules, 1) == 0

    assert (await rules.enter("one")).word == "closed"
    assert await fail(rules, 1) == 30


async def test_one_call_tries_after_the_pause_and_others_wait(rules: Rules, pass_time: Elapse) -> None:
    await fail(rules, 5)
    await pass_time(20)
    assert (await rules.enter("one")).word == "open"
    await pass_time(10)

    assert await rules.enter("") == Verdict("half_open")
    assert await rules.enter("one") == Verdict("trial", token="one")

    assert (await rules.enter("two")).word == "busy"
    assert (await rules.enter("")).word == "busy"


async def test_successful_trial_closes_the_breaker_and_forgets_the_failures(
    rules: Rules, pass_time: Elapse
) -> None:
    await half_open(rules, pass_time)
    await rules.enter("one")

    assert await rules.succeed("one")

    assert await rules.enter("two") == Verdict("closed")
    assert await fail(rules, 4) == 0


async def test_failed_trial_opens_it_for_the_whole_time_again(rules: Rules, pass_time: Elapse) -> None:
    await half_open(rules, pass_time)
    await rules.enter("one")
    await pass_time(5)

    assert await rules.fail("one") == 30

    await pass_time(20)
    assert (await rules.enter("two")).word == "open"
    await pass_time(10)
    assert (await rules.enter("two")).word == "trial"


async def test_trial_that_tells_nothing_lets_another_try(rules: Rules, pass_time: Elapse) -> None:
    await half_open(rules, pass_time)
    await rules.enter("one")

    assert await rules.release("one")

    assert (await rules.enter("two")).word == "trial"


async def test_trial_whose_process_died_ends_by_itself(rules: Rules, pass_time: Elapse) -> None:
    await half_open(rules, pass_time)
    await rules.enter("dead")
    await pass_time(16)

    assert (await rules.enter("two")).word == "trial"

    assert not await rules.succeed("dead")
    assert not await rules.release("dead")
    assert (await rules.enter("three")).word == "busy"


async def test_stragglers_neither_prolong_nor_close_it(rules: Rules, pass_time: Elapse) -> None:
    await fail(rules, 5)
    await pass_time(10)

    assert 10 < await fail(rules, 10) <= 20
    assert not await rules.succeed("one")

    await pass_time(20)
    await rules.enter("one")
    assert await fail(rules, 10) == 0
    assert await rules.succeed("one")


async def test_quiet_lasts_as_long_as_the_longest_that_was_asked_for(rules: Rules, pass_time: Elapse) -> None:
    await rules.quiet(50)
    await rules.quiet(20)

    verdict = await rules.enter("one")
    assert verdict.word == "quiet"
    assert 40 < verdict.wait_s <= 50
    await pass_time(40)
    assert (await rules.enter("one")).word == "quiet"
    await pass_time(10)
    assert await rules.enter("one") == Verdict("closed")


@pytest.mark.parametrize("what", ["open", "tried", "quiet"])
async def test_clock_of_redis_that_goes_back_stops_nobody(redis: Redis, pass_time: Elapse, what: str) -> None:
    rules = RedisRules(redis, POLICY)
    match what:
        case "open":
            await fail(rules, 5)
        case "tried":
            await half_open(rules, pass_time)
            assert (await rules.enter("of a process that died")).word == "trial"
        case _:
            await rules.quiet(30)
    assert (await rules.enter("")).word != "closed"

    await step_back(redis, 36_000)

    assert await rules.enter("") == Verdict("closed")


async def test_one_trial_for_the_whole_fleet(process: Callable[..., Breaker], pass_time: Elapse) -> None:
    fleet = [process() for _ in range(4)]
    for breaker in fleet[:2]:
        for _ in range(3):
            await breaker.fail(Passage())
    await pass_time(30)

    answers = await asyncio.gather(*(breaker.enter() for breaker in fleet for _ in range(25)))

    assert sum(isinstance(answer, Passage) for answer in answers) == 1
    assert {answer.reason for answer in answers if isinstance(answer, Blocked)} == {"busy"}


async def test_whole_fleet_hears_that_it_opened_and_that_it_closed(
    process: Callable[..., Breaker], pass_time: Elapse
) -> None:
    one, two = process(), process()
    assert await two.enter() == Passage()
    for _ in range(5):
        await one.fail(Passage())
    assert isinstance(await one.enter(), Blocked)

    await pass_time(FRESH_S)
    blocked = await two.enter()
    await pass_time(30)
    passage = await two.enter()
    assert isinstance(passage, Passage)
    await two.succeed(passage)

    assert isinstance(blocked, Blocked)
    assert blocked.reason == "open"
    assert await two.enter() == Passage()
    await pass_time(FRESH_S)
    assert await one.enter() == Passage()


async def test_closed_breaker_is_asked_for_once_for_many_calls(
    process: Callable[..., Breaker], redis: Redis, pass_time: Elapse
) -> None:
    breaker = process()
    await breaker.enter()
    await pass_time(FRESH_S)
    before = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]

    for _ in range(1_000):
        await breaker.enter()

    assert (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"] == before + 1


async def test_released_trial_of_a_cancelled_call_is_anothers(
    process: Callable[..., Breaker], pass_time: Elapse
) -> None:
    one, two = process(), process()
    for _ in range(5):
        await one.fail(Passage())
    await pass_time(30)
    passage = await one.enter()
    assert isinstance(passage, Passage)

    await one.release(passage)

    again = await two.enter()
    assert isinstance(again, Passage)
    assert again.trial


async def test_trial_that_is_given_to_who_was_cut_off_is_anothers(
    process: Callable[..., Breaker], redis: Redis, pass_time: Elapse, monotonic: FakeMonotonic
) -> None:
    one, two = process(), process()
    for _ in range(5):
        await one.fail(Passage())
    await pass_time(30)
    asking = asyncio.create_task(one.enter())
    while not asking.done() and not await redis.exists("stripe:breaker:trial"):
        await asyncio.sleep(0)

    # The question may be answered already, or its answer be under way.
    asking.cancel()
    (passage,) = await asyncio.gather(asking, return_exceptions=True)
    if isinstance(passage, Passage):
        await one.release(passage)

    async def is_free() -> bool:
        monotonic.now_s += FRESH_S
        return isinstance(await two.enter(), Passage)

    await eventually(is_free, deadline_s=POLICY.trial_s / 2)


async def test_process_that_cannot_reach_redis_goes_by_what_it_saw(
    process: Callable[..., Breaker], lost_redis: Redis, pass_time: Elapse
) -> None:
    breaker = process(lost_redis)
    assert await breaker.enter() == Passage()

    for _ in range(5):
        await breaker.fail(Passage())

    blocked = await breaker.enter()
    assert isinstance(blocked, Blocked)
    assert blocked.reason == "open"
    await pass_time(30)
    trial, other = await asyncio.gather(breaker.enter(), breaker.enter())
    assert isinstance(trial, Passage)
    assert isinstance(other, Blocked)
    await breaker.succeed(trial)
    assert await breaker.enter() == Passage()


async def test_quiet_is_heard_by_the_fleet(process: Callable[..., Breaker], pass_time: Elapse) -> None:
    one, two = process(), process()
    await two.enter()

    await one.quiet(50)

    for breaker in (one, two):
        await pass_time(FRESH_S)
        blocked = await breaker.enter()
        assert isinstance(blocked, Blocked)
        assert blocked.reason == "quiet"
    await pass_time(50)
    assert await one.enter() == await two.enter() == Passage()


async def test_nobody_is_quiet_for_longer_than_a_minute(
    process: Callable[..., Breaker], pass_time: Elapse
) -> None:
    breaker = process()

    await breaker.quiet(86_400)

    await pass_time(60)
    assert await breaker.enter() == Passage()
