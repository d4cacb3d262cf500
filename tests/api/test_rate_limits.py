"""Who asks too often waits; who cannot be counted passes."""

import asyncio
import time
from collections.abc import Callable
from uuid import uuid4

import httpx
import pytest
from prometheus_client import REGISTRY

from domain.identity.model import Role, User
from tests.api.conftest import Open
from tests.api.operations import CALLS, Call, assert_problem
from tests.builders import a_user

TokenOf = Callable[[User | Role], dict[str, str]]
BURST = 3
# So slow that no request is given back while a test runs.
LIMITS = {"rate_limit_per_minute": BURST, "address_limit_per_minute": BURST, "rate_limit_burst": BURST}


@pytest.fixture
async def strict(open_app: Open) -> httpx.AsyncClient:
    return (await open_app(**LIMITS))[0]


async def test_requests_over_the_burst_are_refused(strict: httpx.AsyncClient, token_of: TokenOf) -> None:
    caller = token_of(a_user(Role.BUYER))

    answers = [await strict.get("/v1/orders", headers=caller) for _ in range(BURST + 1)]

    assert [answer.status_code for answer in answers] == [200] * BURST + [429]
    assert [answer.headers["RateLimit-Remaining"] for answer in answers] == ["2", "1", "0", "0"]
    problem = assert_problem(answers[-1], 429, "rate_limited")
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 20
    assert problem["retry_after_s"] == int(answers[-1].headers["Retry-After"])
    assert answers[-1].headers["RateLimit-Limit"] == "3"


async def test_headers_tell_policy_and_what_is_left_as_the_draft_writes_them(
    strict: httpx.AsyncClient, token_of: TokenOf
) -> None:
    """Structured fields (RFC 9651) of draft-ietf-httpapi-ratelimit-headers-10, beside those of older versions."""
    answer = await strict.get("/v1/orders", headers=token_of(a_user(Role.BUYER)))

    assert answer.headers["RateLimit-Policy"] == '"user";q=3;w=60'
    left, reset = answer.headers["RateLimit-Remaining"], answer.headers["RateLimit-Reset"]
    assert answer.headers["RateLimit"] == f'"user";r={left};t={reset}'


@pytest.mark.parametrize("call", [call for call in CALLS if call.operation.public], ids=str)
async def test_each_route_without_a_token_is_limited_by_address(open_app: Open, call: Call) -> None:
    """Except what machines call for the service's sake."""
    _, services = await open_app(**LIMITS)
    await services.redis.delete("rate:address:127.0.0.1")
    strict, _ = await open_app(**LIMITS)

    sending = [
        strict.request(call.method, call.path, headers=call.headers, json=call.body) for _ in range(BURST + 2)
    ]
    statuses = [answer.status_code for answer in await asyncio.gather(*sending)]

    await services.redis.delete("rate:address:127.0.0.1")
    assert statuses.count(429) == (2 if call.operation.limited else 0)


def test_public_routes_without_a_limit_are_those_of_the_service_and_of_stripe() -> None:
    unlimited = {call.template for call in CALLS if not call.operation.limited}

    assert unlimited == {"/health/live", "/health/ready", "/metrics", "/v1/webhooks/stripe"}


async def test_one_users_haste_is_not_anothers(strict: httpx.AsyncClient, token_of: TokenOf) -> None:
    hasty, calm = token_of(Role.BUYER), token_of(Role.BUYER)
    await asyncio.gather(*(strict.get("/v1/orders", headers=hasty) for _ in range(BURST + 2)))

    assert (await strict.get("/v1/orders", headers=calm)).status_code == 200


async def test_burst_at_one_moment_is_counted_to_the_request(strict: httpx.AsyncClient, token_of: TokenOf) -> None:
    caller = token_of(Role.BUYER)

    answers = await asyncio.gather(*(strict.get("/v1/orders", headers=caller) for _ in range(20)))

    assert sorted(answer.status_code for answer in answers) == [200] * BURST + [429] * (20 - BURST)


async def test_requests_without_a_token_count_by_address(open_app: Open) -> None:
    _, services = await open_app(**LIMITS)
    await services.redis.delete("rate:address:127.0.0.1")
    strict, _ = await open_app(**LIMITS)

    statuses = [(await strict.get("/v1/products")).status_code for _ in range(BURST + 1)]

    await services.redis.delete("rate:address:127.0.0.1")
    assert statuses == [200] * BURST + [429]


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics"])
async def test_operators_are_not_limited(strict: httpx.AsyncClient, path: str) -> None:
    answers = [await strict.get(path) for _ in range(BURST + 2)]

    assert {answer.status_code for answer in answers} == {200}
    assert "RateLimit-Limit" not in answers[0].headers


async def test_without_redis_requests_pass_and_are_counted(
    open_app: Open, token_of: TokenOf, closed_port: int
) -> None:
    api, _ = await open_app(**LIMITS, redis_url=f"redis://127.0.0.1:{closed_port}")
    before = REGISTRY.get_sample_value("marketflow_rate_limiter_failures_total") or 0
    caller = token_of(Role.BUYER)

    answers = [
        await api.get("/v1/orders", headers={**caller, "X-Request-Id": uuid4().hex}) for _ in range(BURST + 2)
    ]

    assert {answer.status_code for answer in answers} == {200}
    assert REGISTRY.get_sample_value("marketflow_rate_limiter_failures_total") == before + BURST + 2


async def test_processes_that_pay_in_advance_keep_to_the_limit(open_app: Open, token_of: TokenOf) -> None:
    """What two processes hold in hand is counted before it is spent: together they let pass what one would."""
    limit = 400
    caller = token_of(Role.BUYER)
    processes = [(await open_app(rate_limit_per_minute=limit, rate_limit_burst=limit))[0] for _ in range(2)]

    began = time.monotonic()
    answers = [await processes[number % 2].get("/v1/payments", headers=caller) for number in range(limit + 60)]
    given_back = limit * (time.monotonic() - began) / 60

    passed = sum(answer.status_code == 200 for answer in answers)
    assert 0.98 * limit <= passed <= limit + given_back + 1
