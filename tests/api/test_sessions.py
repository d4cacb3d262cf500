"""Registering, logging in, staying logged in, logging out, as clients see it."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from pydantic import SecretStr

from api.services import Services
from domain.identity.model import Role, User
from domain.ids import SessionId, uuid7
from tests.api.conftest import Open
from tests.api.operations import assert_problem
from tests.api.test_tokens import ED25519, private_pem, public_pem
from tests.builders import a_user
from tests.eventually import eventually

TokenOf = Callable[[User | Role], dict[str, str]]
PASSWORD = "correct horse"


def a_registration(**changes: Any) -> dict[str, Any]:
    return {"email": f"{uuid4().hex}@example.com", "password": PASSWORD, "role": "buyer", **changes}


async def register(api: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    user = a_registration(**changes)
    answer = await api.post("/v1/users", json=user)
    assert answer.status_code == 201, answer.text
    return user


async def log_in(api: httpx.AsyncClient, user: dict[str, Any], **changes: Any) -> httpx.Response:
    return await api.post("/v1/tokens", json={"email": user["email"], "password": user["password"], **changes})


async def refresh(api: httpx.AsyncClient, refresh_token: str) -> httpx.Response:
    return await api.post("/v1/tokens/refresh", json={"refresh_token": refresh_token})


def bearer(tokens: httpx.Response) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens.json()['access_token']}"}


async def status_of(api: httpx.AsyncClient, tokens: httpx.Response) -> int:
    return (await api.get("/v1/orders", headers=bearer(tokens))).status_code


async def test_user_registers_and_gets_tokens(api: httpx.AsyncClient) -> None:
    user = await register(api)

    tokens = await log_in(api, user, email=user["email"].upper())

    assert tokens.status_code == 200
    assert tokens.json().keys() == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert (tokens.json()["token_type"], tokens.json()["expires_in"]) == ("Bearer", 900)
    assert await status_of(api, tokens) == 200


async def test_user_is_told_without_its_secrets(api: httpx.AsyncClient) -> None:
    answer = await api.post("/v1/users", json=a_registration(email=f"{uuid4().hex}@EXAMPLE.com"))

    user = answer.json()
    assert user.keys() == {"id", "email", "role", "created_at", "suspended_at"}
    assert (user["email"].endswith("@example.com"), answer.headers["Location"]) == (
        True,
        f"/v1/users/{user['id']}",
    )


async def test_address_is_registered_once(api: httpx.AsyncClient) -> None:
    user = await register(api)

    again = await api.post("/v1/users", json={**user, "email": user["email"].upper(), "role": "seller"})

    assert_problem(again, 409, "email_taken")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"email": "a..b@example.com"}, "email_invalid"),
        ({"password": "1234567"}, "fields_invalid"),
        ({"password": "password"}, "password_guessable"),
        ({"password": "Password1"}, "password_guessable"),
    ],
)
async def test_bad_credentials_are_not_registered(
    api: httpx.AsyncClient, changes: dict[str, str], code: str
) -> None:
    assert_problem(await api.post("/v1/users", json=a_registration(**changes)), 422, code)


@pytest.mark.parametrize("role", ["finance", "admin"])
async def test_nobody_registers_a_role_with_power(api: httpx.AsyncClient, role: str) -> None:
    assert_problem(await api.post("/v1/users", json=a_registration(role=role)), 403, "role_not_open")


@pytest.mark.parametrize("known", [True, False])
async def test_wrong_password_and_unknown_address_look_the_same(api: httpx.AsyncClient, *, known: bool) -> None:
    user = await register(api) if known else a_registration()

    answer = await log_in(api, user, password="wrong horse")

    assert assert_problem(answer, 401, "credentials_wrong")["detail"] == "e-mail address or password is wrong"


async def test_tokens_are_refreshed(api: httpx.AsyncClient) -> None:
    tokens = await log_in(api, await register(api))

    fresh = await refresh(api, tokens.json()["refresh_token"])

    assert fresh.status_code == 200
    assert fresh.json().keys() == tokens.json().keys()
    assert fresh.json()["refresh_token"] != tokens.json()["refresh_token"]
    assert await status_of(api, fresh) == 200


async def test_refreshes_at_the_same_moment_are_answered_alike(api: httpx.AsyncClient) -> None:
    token = (await log_in(api, await register(api))).json()["refresh_token"]

    answers = await asyncio.gather(*(refresh(api, token) for _ in range(5)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1


async def test_reuse_ends_the_session_with_its_access_tokens(open_app: Open) -> None:
    api, services = await open_app(refresh_grace_s=0.0)
    tokens = await log_in(api, await register(api))
    fresh = await refresh(api, tokens.json()["refresh_token"])
    assert await status_of(api, fresh) == 200

    assert_problem(await refresh(api, tokens.json()["refresh_token"]), 401, "refresh_token_reused")
    await services.identity.revocations.look()

    assert_problem(await refresh(api, fresh.json()["refresh_token"]), 401, "refresh_token_invalid")
    assert await status_of(api, fresh) == 401


@pytest.mark.parametrize("token", ["", "mfr_", "x" * 255, "mfr_☃"])
async def test_unknown_refresh_token_is_refused(api: httpx.AsyncClient, token: str) -> None:
    assert_problem(await refresh(api, token), 401, "refresh_token_invalid")


async def test_who_logs_out_is_out(api: httpx.AsyncClient) -> None:
    user = await register(api)
    tokens, other = await log_in(api, user), await log_in(api, user)

    answer = await api.delete("/v1/tokens", headers=bearer(tokens))

    assert (answer.status_code, answer.content) == (204, b"")
    assert await status_of(api, tokens) == 401
    assert_problem(await refresh(api, tokens.json()["refresh_token"]), 401, "refresh_token_invalid")
    assert await status_of(api, other) == 200


async def test_other_processes_hear_of_the_end_of_a_session(api: httpx.AsyncClient, open_app: Open) -> None:
    other, services = await open_app()
    tokens = await log_in(api, await register(api))
    assert await status_of(other, tokens) == 200
    services.changes.start()
    await eventually(lambda: services.changes.is_live)

    await api.delete("/v1/tokens", headers=bearer(tokens))

    async def is_refused() -> bool:
        return await status_of(other, tokens) == 401

    await eventually(is_refused)


async def test_without_word_other_processes_look_for_what_has_ended(
    api: httpx.AsyncClient, open_app: Open
) -> None:
    other, services = await open_app()
    tokens = await log_in(api, await register(api))
    assert await status_of(other, tokens) == 200
    await api.delete("/v1/tokens", headers=bearer(tokens))
    assert await status_of(other, tokens) == 200, "otherwise this shows nothing"

    await services.identity.revocations.look()

    assert await status_of(other, tokens) == 401


async def test_started_process_looks_by_itself(api: httpx.AsyncClient, open_app: Open) -> None:
    other, services = await open_app(revocation_poll_s=0.05)
    services.identity.revocations.start()
    tokens = await log_in(api, await register(api))
    assert await status_of(other, tokens) == 200

    await api.delete("/v1/tokens", headers=bearer(tokens))

    async def is_refused() -> bool:
        return await status_of(other, tokens) == 401

    await eventually(is_refused)


async def test_new_password_ends_all_sessions(api: httpx.AsyncClient) -> None:
    user = await register(api)
    tokens, other = await log_in(api, user), await log_in(api, user)
    assert [await status_of(api, each) for each in (tokens, other)] == [200, 200]
    change = {"current_password": PASSWORD, "new_password": "battery staple"}

    answer = await api.post("/v1/users/me/password", json=change, headers=bearer(tokens))

    assert (answer.status_code, answer.content) == (204, b"")
    assert [await status_of(api, each) for each in (tokens, other)] == [401, 401]
    assert_problem(await refresh(api, other.json()["refresh_token"]), 401, "refresh_token_invalid")
    assert_problem(await log_in(api, user), 401, "credentials_wrong")
    assert (await log_in(api, user, password="battery staple")).status_code == 200


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"current_password": "wrong horse", "new_password": "battery staple"}, 401, "credentials_wrong"),
        ({"current_password": PASSWORD, "new_password": "password1"}, 422, "password_guessable"),
        ({"current_password": PASSWORD, "new_password": "short"}, 422, "fields_invalid"),
    ],
)
async def test_password_stays_without_the_present_one_or_a_good_new_one(
    api: httpx.AsyncClient, change: dict[str, str], status: int, code: str
) -> None:
    user = await register(api)
    tokens = await log_in(api, user)

    answer = await api.post("/v1/users/me/password", json=change, headers=bearer(tokens))

    assert_problem(answer, status, code)
    assert await status_of(api, tokens) == 200
    assert (await log_in(api, user)).status_code == 200


async def test_suspended_user_is_out_until_it_is_reinstated(api: httpx.AsyncClient, token_of: TokenOf) -> None:
    user = await register(api)
    tokens = await log_in(api, user)
    admin = token_of(Role.ADMIN)
    assert await status_of(api, tokens) == 200
    found = (await api.get("/v1/users", params={"email": user["email"]}, headers=admin)).json()["data"]
    path = f"/v1/users/{found[0]['id']}/suspension"

    suspended = await api.post(path, headers=admin)

    assert (suspended.status_code, suspended.json()["suspended_at"] is None) == (200, False)
    assert await status_of(api, tokens) == 401
    assert_problem(await log_in(api, user), 403, "user_suspended")
    assert_problem(await log_in(api, user, password="wrong horse"), 401, "credentials_wrong")
    assert (await api.delete(path, headers=admin)).json()["suspended_at"] is None
    assert (await log_in(api, user)).status_code == 200


async def test_without_the_database_no_new_credential_is_believed(
    open_app: Open, services: Services, closed_port: int
) -> None:
    api, _ = await open_app(database_url=f"postgresql://nobody@127.0.0.1:{closed_port}/nothing")
    token = services.identity.tokens.issue(a_user(Role.BUYER), SessionId(uuid7()))

    answer = await api.get("/v1/orders", headers={"Authorization": f"Bearer {token}"})

    assert_problem(answer, 503, "database_unavailable")


async def test_tokens_are_signed_as_the_settings_say(api: httpx.AsyncClient, open_app: Open) -> None:
    key = private_pem(ED25519)
    eddsa, _ = await open_app(jwt_algorithm="EdDSA", jwt_private_key=SecretStr(key))
    changing, _ = await open_app(jwt_other_public_key=public_pem(ED25519))
    user = await register(api)

    new, old = await log_in(eddsa, user), await log_in(api, user)

    assert jwt.get_unverified_header(new.json()["access_token"])["alg"] == "EdDSA"
    assert [await status_of(each, new) for each in (eddsa, changing, api)] == [200, 200, 401]
    assert [await status_of(each, old) for each in (eddsa, changing, api)] == [401, 200, 200]
