"""Who calls is proven, on every operation that is not public."""

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest

from api.identity.tokens import TokenCodec
from domain.clock import SystemClock
from domain.identity.model import Role
from tests.api.conftest import JWT_SECRET
from tests.api.operations import CALLS, Call, assert_problem
from tests.builders import a_user

PRIVATE = [call for call in CALLS if not call.operation.public]
CLAIMS = ("exp", "iat", "sub", "aud", "iss", "jti", "role")


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    good = {
        "iss": "marketflow",
        "aud": "marketflow-api",
        "sub": str(uuid4()),
        "role": "buyer",
        "iat": now,
        "exp": now + 900,
        "jti": uuid4().hex,
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def signed(secret: str = JWT_SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    return jwt.encode(claims(**changes), secret, algorithm=algorithm)


async def call_with(api: httpx.AsyncClient, authorization: str) -> httpx.Response:
    return await api.get("/v1/orders", headers={"Authorization": authorization.encode("latin-1")})


@pytest.mark.parametrize("call", PRIVATE, ids=str)
async def test_private_operation_needs_a_token(api: httpx.AsyncClient, call: Call) -> None:
    answer = await api.request(call.method, call.path, json=call.body, headers=call.headers)

    assert_problem(answer, 401, "token_missing")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("authorization", ["", "Basic YTpi", "Bearer", "Token x", "bearer\t"])
async def test_other_schemes_are_no_token(api: httpx.AsyncClient, authorization: str) -> None:
    assert_problem(await call_with(api, authorization), 401, "token_missing")


async def test_good_token_is_accepted_again_and_again(api: httpx.AsyncClient) -> None:
    token = signed()

    assert [(await call_with(api, f"bearer {token}")).status_code for _ in range(2)] == [200, 200]


BAD_TOKENS = {
    "expired": lambda: signed(exp=int(time.time()) - 1),
    "of the future": lambda: signed(iat=int(time.time()) + 900),
    "wrong secret": lambda: signed("another secret, long enough for HS256 too"),
    "algorithm none": lambda: jwt.encode(claims(), None, algorithm="none"),
    "other algorithm": lambda: signed(JWT_SECRET * 2, "HS512"),
    "wrong audience": lambda: signed(aud="another-api"),
    "wrong issuer": lambda: signed(iss="somebody"),
    "role of nobody": lambda: signed(role="owner"),
    "subject that is no id": lambda: signed(sub="ann"),
    "subject that is no text": lambda: jwt.encode(claims() | {"sub": 7}, JWT_SECRET),
    "expiry that is no time": lambda: signed(exp="tomorrow"),
    "too long": lambda: signed(more="x" * 5_000),
    "garbage": lambda: "a.b.c",
    "empty parts": lambda: "..",
    "not ASCII": lambda: "\xff.\xff.\xff",
    "cut off": lambda: signed()[:-4],
    **{f"without {name}": lambda name=name: signed(**{name: None}) for name in CLAIMS},
}


@pytest.mark.parametrize("make", BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
async def test_bad_token_is_refused(api: httpx.AsyncClient, make: Callable[[], str]) -> None:
    assert_problem(await call_with(api, f"Bearer {make()}"), 401, "token_invalid")


def test_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32 bytes"):
        TokenCodec("short", SystemClock(), ttl_s=900)


def test_known_tokens_do_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.identity.tokens._MAX_CACHED", 2)
    codec = TokenCodec(JWT_SECRET, SystemClock(), ttl_s=900)

    for _ in range(5):
        codec.read(codec.issue(a_user(Role.BUYER)))

    assert len(codec._known) <= 2


async def test_user_registers_and_gets_a_token(api: httpx.AsyncClient) -> None:
    user = {"email": f"{uuid4().hex}@Example.com", "password": "correct horse", "role": "buyer"}
    made = await api.post("/v1/users", json=user)
    credentials = {"email": user["email"].upper(), "password": user["password"]}

    answer = await api.post("/v1/tokens", json=credentials)

    assert (made.status_code, answer.status_code) == (201, 200)
    assert "password" not in made.text
    assert (answer.json()["token_type"], answer.json()["expires_in"]) == ("Bearer", 900)
    assert (await call_with(api, f"Bearer {answer.json()['access_token']}")).status_code == 200


async def test_address_is_registered_once(api: httpx.AsyncClient) -> None:
    user = {"email": f"{uuid4().hex}@example.com", "password": "correct horse", "role": "buyer"}
    await api.post("/v1/users", json=user)

    again = await api.post("/v1/users", json={**user, "email": user["email"].upper(), "role": "seller"})

    assert_problem(again, 409, "email_taken")


@pytest.mark.parametrize("known", [True, False])
async def test_wrong_password_and_unknown_address_look_the_same(api: httpx.AsyncClient, *, known: bool) -> None:
    user = {"email": f"{uuid4().hex}@example.com", "password": "correct horse", "role": "buyer"}
    if known:
        await api.post("/v1/users", json=user)

    answer = await api.post("/v1/tokens", json={"email": user["email"], "password": "wrong horse"})

    assert assert_problem(answer, 401, "credentials_wrong")["detail"] == "e-mail address or password is wrong"
