"""Sessions and API keys on several API processes."""

from collections.abc import Callable
from uuid import uuid4

import httpx
import pytest

from tests.e2e.market import PASSWORD, Caller, Json, Market
from tests.eventually import eventually

CONNECTIONS = 8
"""Enough that each of the processes most likely serves one of them."""


@pytest.fixture
async def login(market: Market) -> Json:
    """A new buyer's e-mail address and password."""
    credentials = {"email": f"{uuid4().hex}@example.com", "password": PASSWORD}
    answer = await market.http.post("/v1/users", json={**credentials, "role": "buyer"})
    assert answer.status_code == 201, answer.text
    return credentials


async def log_in(market: Market, login: Json) -> Json:
    answer = await market.http.post("/v1/tokens", json=login)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def statuses(market: Market, credential: str) -> set[int]:
    """What a credential is answered on connections of its own, and so by more than one process."""
    found = set()
    for _ in range(CONNECTIONS):
        async with httpx.AsyncClient(base_url=market.info.api, timeout=35, trust_env=False) as http:
            found.add((await Caller(http, credential).get("/v1/payments")).status_code)
    return found


def becomes(market: Market, credential: str, status: int) -> Callable[[], object]:
    async def look() -> bool:
        return await statuses(market, credential) == {status}

    return look


async def test_end_of_a_session_reaches_every_process(market: Market, login: Json) -> None:
    tokens = await log_in(market, login)
    assert await statuses(market, tokens["access_token"]) == {200}

    answer = await market.http.delete("/v1/tokens", headers={"Authorization": f"Bearer {tokens['access_token']}"})

    assert answer.status_code == 204
    await eventually(becomes(market, tokens["access_token"], 401))


async def test_refreshed_session_goes_on(market: Market, login: Json) -> None:
    tokens = await log_in(market, login)
    for _ in range(3):
        answer = await market.http.post("/v1/tokens/refresh", json={"refresh_token": tokens["refresh_token"]})
        assert answer.status_code == 200, answer.text
        tokens = answer.json()

    assert await statuses(market, tokens["access_token"]) == {200}


async def test_key_pays_and_ends_everywhere(market: Market, buyer: Caller, order: Json) -> None:
    new = {"name": "shop backend", "scopes": ["payments:write", "payments:read"]}
    key = (await buyer.post("/v1/api-keys", new)).json()
    program = Caller(market.http, key["key"])

    payment = await market.become(program, await market.pay(program, order), "succeeded")

    assert payment["order_id"] == order["id"]
    refused = await program.get(f"/v1/orders/{order['id']}")
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
    assert await statuses(market, key["key"]) == {200}

    async def was_used() -> object:
        listed = (await buyer.get("/v1/api-keys")).json()["data"]
        return next(one["last_used_at"] for one in listed if one["id"] == key["id"])

    assert await eventually(was_used)
    ended = await market.http.delete(
        f"/v1/api-keys/{key['id']}", headers={"Authorization": f"Bearer {buyer.token}"}
    )
    assert ended.status_code == 204
    await eventually(becomes(market, key["key"], 401))


async def test_suspended_user_is_out_everywhere(market: Market, login: Json) -> None:
    tokens, admin = await log_in(market, login), await market.log_in("admin")
    assert await statuses(market, tokens["access_token"]) == {200}
    (user,) = (await admin.get(f"/v1/users?email={login['email']}")).json()["data"]

    assert (await admin.post(f"/v1/users/{user['id']}/suspension", None)).status_code == 200

    await eventually(becomes(market, tokens["access_token"], 401))
    answer = await market.http.post("/v1/tokens", json=login)
    assert (answer.status_code, answer.json()["code"]) == (403, "user_suspended")
