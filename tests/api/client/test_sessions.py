"""Sessions of a client: renewed when they must be, once for all, and ended."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from api.client import (
    Client,
    Refused,
    Retry,
    Unanswered,
    Unauthenticated,
)
from api.client.client import RENEWAL_PAUSE_S, RENEWAL_TIMEOUT_S
from ops.settings import Settings
from tests.api.client.conftest import Server, ok, problem

PAYMENT = {"id": "p1", "status": "pending"}
TOKENS = {"access_token": "second", "refresh_token": "r2", "expires_in": 900}


def session(server: Server) -> Callable[[httpx.Request], httpx.Response]:
    """A server that knows the newest token alone."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/tokens/refresh":
            return ok(TOKENS)
        if request.url.path == "/v1/tokens":
            return ok({**TOKENS, "access_token": "first", "refresh_token": "r1"})
        is_newest = request.headers.get("Authorization") == "Bearer second"
        return ok(PAYMENT) if is_newest else problem(401, "token_invalid")

    return answer


async def test_expired_token_is_renewed_once_for_all_who_need_it(
    server: Server, make: Callable[..., Client]
) -> None:
    server.will(session(server))
    client = make()
    await client.log_in("ann@example.com", "a password")

    found = await asyncio.gather(*(client.payments.get("p1") for _ in range(10)))

    assert found == [PAYMENT] * 10
    renewals = [request for request in server.asked if request.url.path == "/v1/tokens/refresh"]
    assert len(renewals) == 1
    assert client.credentials.refresh_token == "r2"


async def test_token_is_renewed_before_it_expires(server: Server, make: Callable[..., Client]) -> None:
    server.will(ok({**TOKENS, "access_token": "first", "expires_in": 0}), ok(TOKENS), ok(PAYMENT))
    client = make()
    await client.log_in("ann@example.com", "a password")

    await client.payments.get("p1")

    assert [request.url.path for request in server.asked][1:] == ["/v1/tokens/refresh", "/v1/payments/p1"]
    assert server.headers("Authorization") == [None, None, "Bearer second"]


async def test_lost_answer_to_a_renewal_is_asked_for_again_at_once(
    server: Server, make: Callable[..., Client]
) -> None:
    client = make(retry=Retry(for_s=30, base_s=20, cap_s=20))
    client.credentials.take({**TOKENS, "access_token": "old"})
    server.will(problem(401), httpx.ReadTimeout("slow"), ok(TOKENS), ok(PAYMENT))
    began = time.monotonic()

    await client.payments.get("p1")

    assert time.monotonic() - began < 10
    assert [request.extensions["timeout"]["read"] for request in server.asked[1:3]] == [RENEWAL_TIMEOUT_S] * 2


def test_renewal_is_repeated_twice_while_the_server_gives_the_same_tokens_again() -> None:
    grace_s = Settings.model_fields["refresh_grace_s"].default

    assert grace_s > 2 * (RENEWAL_TIMEOUT_S + RENEWAL_PAUSE_S)


async def test_refused_key_is_not_tried_again(server: Server, client: Client) -> None:
    server.will(problem(401, "api_key_invalid"))

    with pytest.raises(Unauthenticated):
        await client.payments.get("p1")

    assert len(server.asked) == 1


async def test_session_that_is_over_is_said_to_be(server: Server, make: Callable[..., Client]) -> None:
    client = make()
    client.credentials.take({**TOKENS, "access_token": "old"})
    server.will(problem(401, "token_invalid"), problem(401, "session_over"))

    with pytest.raises(Unauthenticated) as raised:
        await client.payments.get("p1")

    assert raised.value.code == "session_over"


async def test_log_out_forgets_the_session(server: Server, make: Callable[..., Client]) -> None:
    server.will(session(server), httpx.Response(204), ok(PAYMENT))
    client = make()
    await client.log_in("ann@example.com", "a password")

    await client.log_out()
    await client.payments.get("p1")

    assert server.headers("Authorization")[-1] is None


async def test_who_logged_out_without_an_answer_is_out(server: Server, make: Callable[..., Client]) -> None:
    client = make()
    client.credentials.take(TOKENS)
    server.will(httpx.ReadError("cut"), problem(401, "token_invalid"), problem(401, "refresh_token_invalid"))

    await client.log_out()

    assert client.credentials.bearer is None
    assert client.credentials.refresh_token is None


async def test_token_that_expires_while_its_session_is_ended_is_renewed_to_end_it(
    server: Server, make: Callable[..., Client]
) -> None:
    client = make()
    client.credentials.take({**TOKENS, "access_token": "old"})
    server.will(httpx.ReadError("cut"), problem(401), ok(TOKENS), httpx.Response(204))

    await client.log_out()

    assert server.headers("Authorization") == ["Bearer old", "Bearer old", None, "Bearer second"]


async def test_token_alone_is_logged_out_by_a_repetition_that_is_refused(server: Server, client: Client) -> None:
    server.will(httpx.ReadError("cut"), problem(401))

    await client.log_out()

    assert client.credentials.bearer is None


async def test_who_is_nobody_is_not_logged_out(server: Server, client: Client) -> None:
    server.will(problem(401))

    with pytest.raises(Unauthenticated):
        await client.log_out()


@pytest.mark.parametrize("renewal", [problem(401, "refresh_token_invalid"), httpx.ReadTimeout("slow")], ids=str)
async def test_key_is_borne_when_the_session_ends_meanwhile(
    server: Server, make: Callable[..., Client], renewal: Any
) -> None:
    client = make(retry=Retry(for_s=0.05, base_s=0.01))
    server.will(ok(TOKENS), httpx.ReadTimeout("slow"), problem(401, "token_invalid"), renewal)
    await client.log_in("ann@example.com", "a password")

    with pytest.raises((Refused, Unanswered)) as raised:
        await client.payments.pay("o1", "pm_card_visa")

    assert raised.value.key == server.headers("Idempotency-Key")[1] is not None
