"""Nobody guesses passwords for long, and without Redis nobody guesses at all."""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import httpx
import pytest

from api.services import Services
from db.login_throttle import RedisLoginThrottle, ThrottlePolicy
from domain.errors import RateLimited, Unavailable
from domain.identity.ports import Attempt
from tests.api.conftest import Open
from tests.api.operations import assert_problem
from tests.api.test_sessions import PASSWORD, bearer, log_in, refresh, register
from tests.eventually import eventually

# So slow that no failure is forgiven while a test runs.
POLICY = ThrottlePolicy(per_account=3, per_address=5, window_s=3_600)


@pytest.fixture
def throttle(services: Services) -> RedisLoginThrottle:
    return RedisLoginThrottle(services.redis, POLICY)


@pytest.fixture
async def strict(open_app: Open) -> AsyncIterator[httpx.AsyncClient]:
    api, services = await open_app(login_failures_per_account=3)
    await services.redis.delete("login:address:127.0.0.1")
    yield api
    await services.redis.delete("login:address:127.0.0.1")


def an_attempt(account: str = "", address: str = "") -> Attempt:
    return Attempt(account or uuid4().hex, address or uuid4().hex)


async def taken(throttle: RedisLoginThrottle, *attempts: Attempt) -> list[bool]:
    """Whether each of the attempts was let through."""
    answers = await asyncio.gather(*(throttle.take(attempt) for attempt in attempts), return_exceptions=True)
    assert {type(answer) for answer in answers} <= {RateLimited, type(None)}
    return [answer is None for answer in answers]


async def test_account_is_guessed_a_few_times_from_wherever(throttle: RedisLoginThrottle) -> None:
    account = uuid4().hex

    assert sum(await taken(throttle, *(an_attempt(account=account) for _ in range(10)))) == 3
    assert await taken(throttle, an_attempt()) == [True]


async def test_address_guesses_a_few_times_at_whatever(throttle: RedisLoginThrottle) -> None:
    address = uuid4().hex

    assert sum(await taken(throttle, *(an_attempt(address=address) for _ in range(10)))) == 5


async def test_refused_attempt_counts_for_nobody(throttle: RedisLoginThrottle) -> None:
    account, address = uuid4().hex, uuid4().hex
    await taken(throttle, *(an_attempt(account=account) for _ in range(3)))

    assert not any(await taken(throttle, *(an_attempt(account, address) for _ in range(10))))

    assert sum(await taken(throttle, *(an_attempt(address=address) for _ in range(10)))) == 5


async def test_attempt_in_which_nothing_was_compared_is_given_back(throttle: RedisLoginThrottle) -> None:
    attempt = an_attempt()

    for _ in range(10):
        await throttle.take(attempt)
        await throttle.give_back(attempt)
    await throttle.give_back(an_attempt())

    assert sum(await taken(throttle, *[attempt] * 10)) == 3


async def test_success_where_one_is_known_is_given_back(throttle: RedisLoginThrottle) -> None:
    home = an_attempt()

    for _ in range(10):
        await throttle.take(home)
        await throttle.remember(home)

    assert sum(await taken(throttle, *[home] * 10)) == 3


async def test_strangers_keep_nobody_out_of_where_it_logged_in(throttle: RedisLoginThrottle) -> None:
    home = an_attempt()
    await throttle.remember(home)

    strangers = [an_attempt(account=home.account) for _ in range(10)]

    assert sum(await taken(throttle, *strangers)) == 3
    assert await taken(throttle, home) == [True]


async def test_who_guesses_where_the_account_is_at_home_guesses_a_few_times(throttle: RedisLoginThrottle) -> None:
    home = an_attempt()
    await throttle.remember(home)

    assert sum(await taken(throttle, *[home] * 10)) == 3

    assert sum(await taken(throttle, *(an_attempt(account=home.account) for _ in range(10)))) == 3


async def test_network_is_known_to_who_logged_in_there_alone(throttle: RedisLoginThrottle) -> None:
    home, other = an_attempt(), uuid4().hex
    await throttle.remember(home)
    await taken(throttle, *(an_attempt(account=other) for _ in range(3)))

    assert await taken(throttle, an_attempt(other, home.address)) == [False]


async def test_last_networks_are_known(services: Services) -> None:
    throttle, account = RedisLoginThrottle(services.redis, replace(POLICY, most_known=2)), uuid4().hex
    first, second, third = homes = [an_attempt(account=account) for _ in range(3)]
    for home in (*homes, second):
        await throttle.remember(home)
    await taken(throttle, *(an_attempt(account=account) for _ in range(3)))

    assert [await taken(throttle, home) for home in (first, second, third)] == [[False], [True], [True]]


async def test_network_is_known_for_a_while(services: Services) -> None:
    throttle, account = RedisLoginThrottle(services.redis, POLICY), uuid4().hex
    old, new = (an_attempt(account=account) for _ in range(2))
    await RedisLoginThrottle(services.redis, replace(POLICY, known_s=0.2)).remember(old)
    await throttle.remember(new)
    end_s = await time_s(services) + 0.2

    async def is_over() -> bool:
        return await time_s(services) > end_s

    await eventually(is_over)
    await taken(throttle, *(an_attempt(account=account) for _ in range(3)))

    assert [await taken(throttle, home) for home in (old, new)] == [[False], [True]]


async def time_s(services: Services) -> float:
    seconds, microseconds = await services.redis.time()
    return float(seconds + microseconds / 1_000_000)


async def test_failures_are_forgiven_as_time_goes_on(services: Services) -> None:
    throttle, attempt, refusals = RedisLoginThrottle(services.redis, POLICY), an_attempt(), list[RateLimited]()
    for window_s in (0.5, 5, 50):  # the longer ones are for a machine on which the first is over in a moment
        policy = ThrottlePolicy(per_account=2, per_address=100, window_s=window_s)
        throttle, attempt = RedisLoginThrottle(services.redis, policy), an_attempt()
        answers = await asyncio.gather(*(throttle.take(attempt) for _ in range(3)), return_exceptions=True)
        refusals = [answer for answer in answers if isinstance(answer, RateLimited)]
        if refusals:
            assert 1 <= refusals[0].facts["retry_after_s"] <= math.ceil(window_s / 2)
            break
    assert len(refusals) == 1

    async def is_let_through() -> bool:
        return await taken(throttle, attempt) == [True]

    await eventually(is_let_through)


async def test_nobody_reads_accounts_in_redis(services: Services, throttle: RedisLoginThrottle) -> None:
    account = f"{uuid4().hex}@example.com"
    attempt = an_attempt(account=account)
    await throttle.take(attempt)
    await throttle.remember(attempt)

    keys = [key async for key in services.redis.scan_iter("login:*")]
    networks = [key for key in keys if key.startswith(b"login:networks:")]
    known = [home for key in networks for home in await services.redis.zrange(key, 0, -1)]

    assert known
    assert not any(account.encode() in text for text in (*keys, *known))
    assert not any(attempt.address.encode() in home for home in known)


async def test_guesses_are_refused_with_the_right_password_too(strict: httpx.AsyncClient) -> None:
    user = await register(strict)
    for _ in range(3):
        assert_problem(await log_in(strict, user, password="wrong horse"), 401, "credentials_wrong")

    answer = await log_in(strict, user)

    problem = assert_problem(answer, 429, "login_throttled")
    assert answer.headers["Retry-After"] == str(problem["retry_after_s"])
    assert 200 < problem["retry_after_s"] <= 300


async def test_owner_gets_in_from_where_it_did_while_strangers_guess(open_app: Open) -> None:
    api, _ = await open_app(login_failures_per_account=3, trusted_proxies=1)
    user, home = await register(api), {"X-Forwarded-For": f"home-{uuid4().hex}"}
    login = {"email": user["email"], "password": PASSWORD}
    assert (await api.post("/v1/tokens", json=login, headers=home)).status_code == 200
    guess = {**login, "password": "wrong horse"}

    guesses = [
        await api.post("/v1/tokens", json=guess, headers={"X-Forwarded-For": f"away-{uuid4().hex}"})
        for _ in range(4)
    ]

    assert [answer.status_code for answer in guesses] == [401, 401, 401, 429]
    assert (await api.post("/v1/tokens", json=login, headers=home)).status_code == 200


async def test_guesses_at_once_are_counted_to_the_last(strict: httpx.AsyncClient) -> None:
    user = await register(strict)

    answers = await asyncio.gather(*(log_in(strict, user, password="wrong horse") for _ in range(10)))

    assert sorted(answer.status_code for answer in answers) == [401] * 3 + [429] * 7


async def test_unknown_account_is_throttled_like_a_known_one(strict: httpx.AsyncClient) -> None:
    nobody = {"email": f"{uuid4().hex}@example.com", "password": PASSWORD}

    answers = [await log_in(strict, nobody) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]


async def test_present_password_is_not_guessed_by_who_has_a_token(strict: httpx.AsyncClient) -> None:
    user = await register(strict)
    tokens = await log_in(strict, user)
    change = {"current_password": "wrong horse", "new_password": "battery staple"}

    answers = [await strict.post("/v1/users/me/password", json=change, headers=bearer(tokens)) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]


async def test_without_redis_nobody_logs_in_and_who_is_in_stays(
    api: httpx.AsyncClient, open_app: Open, closed_port: int
) -> None:
    user = await register(api)
    tokens = await log_in(api, user)
    without, services = await open_app(redis_url=f"redis://127.0.0.1:{closed_port}")

    answer = await log_in(without, user)

    assert_problem(answer, 503, "login_unavailable")
    assert answer.headers["Retry-After"] == "1"
    assert (await without.get("/v1/orders", headers=bearer(tokens))).status_code == 200
    assert (await refresh(without, tokens.json()["refresh_token"])).status_code == 200
    throttle = RedisLoginThrottle(services.redis, POLICY)
    with pytest.raises(Unavailable):
        await throttle.take(an_attempt())
    await throttle.give_back(an_attempt())
    await throttle.remember(an_attempt())
