"""What the calls of several processes tell each other: the breaker, and Stripe's own limit."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import httpx
import pytest
from aiohttp import web
from redis.asyncio import Redis

from domain.settlement.answers import Throttled, Unsure
from ops import tracing
from tests.builders import a_payment, a_refund
from tests.db.elapsed import elapse
from tests.domain.fakes import FakeMonotonic
from tests.eventually import eventually
from tests.otlp import collecting
from tests.workers.held import HELD, are_held, let_go
from workers.stripe_calls import StripeCalls
from workers.stripe_egress import StripeEgress
from workers.stripe_refunds import StripeRefunds

INTENTS = "/v1/payment_intents"
FRESH_S = 0.3
QUIET_S = 50
PARAMS: dict[str, Any] = {
    "amount": 1999,
    "currency": "usd",
    "confirm": True,
    "payment_method": "pm_card_visa",
    "payment_method_types": ["card"],
}
INTENT: dict[str, Any] = {"id": "pi_1", "object": "payment_intent"}
Connect = Callable[..., StripeCalls]
Fault = Callable[..., Awaitable[None]]
Elapse = Callable[[float], Awaitable[None]]


@dataclass
class AlikeStripe:
    """A Stripe that answers every call alike, and none before it may."""

    status: int = 200
    body: Any = field(default_factory=lambda: INTENT)
    headers: dict[str, str] = field(default_factory=dict)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0
    url: str = ""

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        await self.may_answer.wait()
        return web.json_response(self.body, status=self.status, headers=self.headers)


Serve = Callable[[AlikeStripe], Awaitable[AlikeStripe]]


@pytest.fixture
def pass_time(redis: Redis, monotonic: FakeMonotonic) -> Elapse:
    return partial(elapse, redis, monotonic)


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serve what plays Stripe until the test ends."""
    async with contextlib.AsyncExitStack() as served:

        async def start(stripe: AlikeStripe) -> AlikeStripe:
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", stripe.answer)
            runner = web.AppRunner(app, shutdown_timeout=1)
            await runner.setup()
            served.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            stripe.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            return stripe

        yield start


@pytest.fixture
async def held_stripe(serve: Serve) -> AlikeStripe:
    """A Stripe that answers when the test lets it."""
    return await serve(AlikeStripe())


@pytest.fixture
async def limiting_stripe(serve: Serve) -> AlikeStripe:
    """A Stripe that is called too much, and asks for long enough a quiet that none of it passes by itself."""
    error = {"type": "invalid_request_error", "code": "rate_limit", "message": "too many"}
    stripe = AlikeStripe(429, {"error": error}, {"Retry-After": str(QUIET_S)})
    stripe.may_answer.set()
    return await serve(stripe)


@pytest.fixture
async def busy_object(serve: Serve) -> str:
    """An address whose every object is held by another call."""
    stripe = AlikeStripe(
        429, {"error": {"type": "invalid_request_error", "code": "lock_timeout", "message": "held"}}
    )
    stripe.may_answer.set()
    return (await serve(stripe)).url


async def charge(calls: StripeCalls, key: str | None = None, **changes: Any) -> Any:
    return await calls.call("post", INTENTS, {**PARAMS, **changes}, key=key)


async def made(sandbox: httpx.AsyncClient) -> int:
    return len((await sandbox.get("/state")).json()["charges"])


async def all_made(sandbox: httpx.AsyncClient, count: int) -> None:
    """Wait for the calls that nobody waits for: the sandbox makes them all the same, and not in the next test."""

    async def are_made() -> bool:
        return await made(sandbox) == count

    await eventually(are_made)


async def break_stripe(calls: StripeCalls, fault: Fault, sandbox: httpx.AsyncClient) -> None:
    await fault("drop_before", count=5)
    for _ in range(5):
        assert isinstance(await charge(calls), Unsure)
    await sandbox.delete("/faults")


def is_blocked(answer: object) -> bool:
    return isinstance(answer, Throttled) and answer.reason.startswith("breaker")


async def test_failed_call_is_traced_whatever_the_ratio_and_a_declined_card_is_not(
    calls: StripeCalls, fault: Fault
) -> None:
    with collecting() as collector:
        tracing.start_tracing("test", otlp_endpoint=collector.url, sample_ratio=0)
        await charge(calls, payment_method="pm_card_chargeDeclined")
        await fault("error_500")
        await charge(calls)
        await asyncio.to_thread(tracing.stop_tracing)

    (failure,) = collector.spans
    assert (failure.name, failure.is_error) == (f"POST {INTENTS}", True)


@pytest.mark.parametrize("effect", ["drop_before", "drop_after", "error_500"])
async def test_failures_of_one_process_keep_the_others_from_calling(
    connect: Connect, fault: Fault, sandbox: httpx.AsyncClient, pass_time: Elapse, effect: str
) -> None:
    one, two = connect(), connect()
    assert not is_blocked(await charge(two))
    await fault(effect, count=5)
    for _ in range(5):
        assert isinstance(await charge(one), Unsure)
    before = await made(sandbox)

    await pass_time(FRESH_S)
    answers = await asyncio.gather(*(charge(calls) for calls in (one, two) for _ in range(20)))

    assert all(is_blocked(answer) and 20 < answer.retry_after_s <= 30 for answer in answers)
    assert await made(sandbox) == before


async def test_one_call_of_the_fleet_tries_and_its_success_closes(
    connect: Connect, fault: Fault, sandbox: httpx.AsyncClient, pass_time: Elapse, held_stripe: AlikeStripe
) -> None:
    one, two = (connect(api_base=held_stripe.url) for _ in range(2))
    await break_stripe(connect(), fault, sandbox)
    await pass_time(30)

    asking = [asyncio.create_task(charge(calls)) for calls in (one, two) for _ in range(20)]
    # The trial's answer closes the breaker, so it comes when all others know whether they may call.
    await eventually(lambda: held_stripe.asked + sum(task.done() for task in asking) == len(asking))
    held_stripe.may_answer.set()
    answers = await asyncio.gather(*asking)

    assert [answer for answer in answers if not is_blocked(answer)] == [INTENT]
    assert held_stripe.asked == 1
    await pass_time(FRESH_S)
    for calls in (one, two):
        assert await charge(calls) == INTENT


async def test_failed_trial_keeps_everybody_waiting(
    connect: Connect, fault: Fault, sandbox: httpx.AsyncClient, pass_time: Elapse
) -> None:
    one, two = connect(), connect()
    await break_stripe(one, fault, sandbox)
    await pass_time(30)
    await fault("error_500")

    assert isinstance(await charge(two), Unsure)

    assert is_blocked(await charge(one))
    await pass_time(20)
    assert is_blocked(await charge(one))


@pytest.mark.parametrize(
    "changes",
    [
        {"payment_method": "pm_card_chargeDeclined"},
        {"payment_method": "pm_card_chargeDeclinedInsufficientFunds"},
        {"payment_method": "pm_card_unheardOf"},
        {"amount": 1},
    ],
)
async def test_refusals_are_answers_and_never_open_the_breaker(
    connect: Connect, sandbox: httpx.AsyncClient, changes: dict[str, Any]
) -> None:
    calls = connect()

    for _ in range(20):
        await charge(calls, **changes)

    assert not is_blocked(await charge(calls))


async def test_declined_trial_closes_the_breaker(
    connect: Connect, fault: Fault, sandbox: httpx.AsyncClient, pass_time: Elapse
) -> None:
    calls = connect()
    await break_stripe(calls, fault, sandbox)
    await pass_time(30)

    await charge(calls, payment_method="pm_card_chargeDeclined")

    assert not is_blocked(await charge(calls))


async def test_recorded_error_counts_once(connect: Connect, fault: Fault, sandbox: httpx.AsyncClient) -> None:
    calls = connect()
    await fault("error_500")

    for _ in range(20):
        assert isinstance(await charge(calls, "key"), Unsure)

    assert not is_blocked(await charge(calls))


async def test_recorded_error_ends_a_trial_without_a_verdict(
    connect: Connect, fault: Fault, sandbox: httpx.AsyncClient, pass_time: Elapse
) -> None:
    calls = connect()
    await fault("error_500")
    await charge(calls, "key")
    await pass_time(60)
    await break_stripe(calls, fault, sandbox)
    await pass_time(30)

    assert isinstance(await charge(calls, "key"), Unsure)

    await pass_time(FRESH_S)
    assert not is_blocked(await charge(calls))


async def test_key_in_use_ends_a_trial_without_a_verdict(
    connect: Connect, fault: Fault, sandbox: httpx.AsyncClient, pass_time: Elapse
) -> None:
    calls = connect()
    await fault(HELD)
    waiting = asyncio.create_task(charge(calls, "key"))
    await eventually(lambda: are_held(sandbox, 1))
    waiting.cancel()
    await break_stripe(calls, fault, sandbox)
    await pass_time(30)

    assert await charge(calls, "key") == Throttled("the key is in use")

    await fault("drop_before")
    await pass_time(FRESH_S)
    answers = [await charge(calls) for _ in range(5)]
    assert sum(not is_blocked(answer) for answer in answers) == 1
    await let_go(sandbox)
    await all_made(sandbox, 1)


async def test_calls_that_are_cut_off_do_not_count(
    connect: Connect, fault: Fault, sandbox: httpx.AsyncClient
) -> None:
    calls = connect()
    await fault(HELD, count=10)
    waiting = [asyncio.create_task(charge(calls, f"key-{number}")) for number in range(10)]
    await eventually(lambda: are_held(sandbox, 10))
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)

    assert not is_blocked(await charge(calls))
    await let_go(sandbox)
    await all_made(sandbox, 11)


async def test_trial_that_is_cut_off_is_another_s(
    connect: Connect, fault: Fault, sandbox: httpx.AsyncClient, pass_time: Elapse, redis: Redis
) -> None:
    one, two = connect(), connect()
    await break_stripe(one, fault, sandbox)
    await pass_time(30)
    await fault(HELD)
    trial = asyncio.create_task(charge(one, "key"))
    await eventually(lambda: are_held(sandbox, 1))
    assert await redis.exists("stripe:breaker:trial")
    trial.cancel()
    await asyncio.gather(trial, return_exceptions=True)

    assert not is_blocked(await charge(two))
    await let_go(sandbox)
    await all_made(sandbox, 2)


async def test_quiet_that_is_asked_for_is_believed_for_minutes_alone(connect: Connect, serve: Serve) -> None:
    error = {"type": "invalid_request_error", "code": "rate_limit", "message": "too many"}
    stripe = AlikeStripe(429, {"error": error}, {"Retry-After": "9" * 400})
    stripe.may_answer.set()

    answer = await charge(connect(api_base=(await serve(stripe)).url))

    assert answer == Throttled("rate limit", 300)


async def test_stripes_limit_quietens_the_whole_fleet(
    connect: Connect, sandbox: httpx.AsyncClient, pass_time: Elapse, limiting_stripe: AlikeStripe
) -> None:
    one, two = connect(api_base=limiting_stripe.url), connect()
    await charge(two)
    before = await made(sandbox)

    answer = await charge(one)

    assert answer == Throttled("rate limit", QUIET_S)
    await pass_time(FRESH_S)
    for calls in (one, two):
        blocked = await charge(calls)
        assert isinstance(blocked, Throttled)
        assert blocked.reason == "breaker: quiet"
        assert QUIET_S - 10 < (blocked.retry_after_s or 0) <= QUIET_S
    assert (limiting_stripe.asked, await made(sandbox)) == (1, before)
    await pass_time(QUIET_S)
    assert not is_blocked(await charge(two))


async def test_object_that_another_call_holds_quietens_nobody(connect: Connect, busy_object: str) -> None:
    calls = connect(api_base=busy_object)

    answers = [await charge(calls) for _ in range(10)]

    assert answers == [Throttled("rate limit", None)] * 10


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, None), (200, []), (200, "done"), (502, {"error": "Bad Gateway"}), (400, {"error": None}), (404, [])],
)
async def test_what_stripe_never_says_is_unsure_and_a_failure(
    connect: Connect, serve: Serve, status: int, body: Any
) -> None:
    proxy = AlikeStripe(status, body)
    proxy.may_answer.set()
    calls = connect(api_base=(await serve(proxy)).url)
    refund = replace(a_refund(a_payment()), stripe_charge_id="ch_1")

    found = await StripeRefunds(calls).find_refund(refund)
    charged = [await charge(calls) for _ in range(5)]

    assert [found, *charged[:4]] == [Unsure(f"status {status}")] * 5
    assert is_blocked(charged[4])


async def test_garbage_for_an_answer_is_a_failure(connect: Connect, closed_port: int) -> None:
    calls = connect(api_base=f"http://127.0.0.1:{closed_port}")

    answers = [await charge(calls) for _ in range(6)]

    assert [is_blocked(answer) for answer in answers] == [False] * 5 + [True]


@pytest.mark.usefixtures("sandbox")
async def test_fleet_calls_no_faster_than_its_rate(
    connect: Connect, egress_of: Callable[..., StripeEgress]
) -> None:
    fleet = [connect(egress_of(rate=50)) for _ in range(2)]
    started = time.monotonic()

    answers = await asyncio.gather(*(calls.call("get", "/v1/balance", {}) for calls in fleet for _ in range(30)))

    # All but the burst of a tenth of a second wait for their turn.
    assert time.monotonic() - started >= (60 - 6) / 50
    assert not any(isinstance(answer, Throttled) for answer in answers)
