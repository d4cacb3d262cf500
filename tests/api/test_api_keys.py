"""Programs call with API keys, each for what it was made for."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from api.services import Services
from domain.identity.model import Principal, Role, Scope, User
from domain.identity.tokens import new_api_key
from domain.ids import ApiKeyId, uuid7
from tests.api.conftest import Open
from tests.api.operations import CALLS, Call, assert_problem
from tests.builders import Shop, a_user

TokenOf = Callable[[User | Role], dict[str, str]]
PRIVATE = [call for call in CALLS if not call.operation.public]
WITH_SCOPE = [call for call in PRIVATE if call.operation.scope is not None]
WITHOUT_SCOPE = [call for call in PRIVATE if call.operation.scope is None]


@pytest.fixture
def buyer(shop: Shop, token_of: TokenOf) -> dict[str, str]:
    return token_of(shop.buyer)


async def make(api: httpx.AsyncClient, token: dict[str, str], *scopes: Scope, name: str = "shop") -> Any:
    answer = await api.post("/v1/api-keys", json={"name": name, "scopes": scopes}, headers=token)
    assert answer.status_code == 201, answer.text
    return answer.json()


def with_key(key: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {key['key']}"}


async def orders(api: httpx.AsyncClient, key: Any) -> httpx.Response:
    return await api.get("/v1/orders", headers=with_key(key))


async def test_key_is_shown_once(api: httpx.AsyncClient, buyer: dict[str, str]) -> None:
    key = await make(api, buyer, Scope.PAYMENTS_WRITE, Scope.ORDERS_READ)

    listed = await api.get("/v1/api-keys", headers=buyer)

    assert key["key"].startswith(f"{key['prefix']}_")
    assert key["prefix"].startswith("mf_")
    assert key["scopes"] == ["orders:read", "payments:write"]
    assert listed.json()["data"] == [{name: value for name, value in key.items() if name != "key"}]
    assert key["key"] not in listed.text


async def test_key_calls_for_its_owner(api: httpx.AsyncClient, shop: Shop, buyer: dict[str, str]) -> None:
    key = await make(api, buyer, Scope.ORDERS_READ)
    order = await shop.order()

    answers = [await orders(api, key) for _ in range(2)]

    assert [[found["id"] for found in answer.json()["data"]] for answer in answers] == [[str(order.id)]] * 2


@pytest.mark.parametrize("change", [-1, 5, 20])
async def test_other_characters_are_no_key(api: httpx.AsyncClient, buyer: dict[str, str], change: int) -> None:
    key = (await make(api, buyer, Scope.ORDERS_READ))["key"]
    await orders(api, {"key": key})
    at = change % len(key)
    forged = key[:at] + ("0" if key[at] != "0" else "1") + key[at + 1 :]

    assert_problem(await orders(api, {"key": forged}), 401, "api_key_invalid")


@pytest.mark.parametrize(
    "key",
    ["mf_", "mf_0123456789ab_", "mf_\u00ff", "mf_" + "0" * 5_000, new_api_key()[1]],
    ids=["nothing", "no secret", "not ASCII", "too long", "unknown"],
)
async def test_what_is_no_key_is_refused(api: httpx.AsyncClient, key: str) -> None:
    answer = await api.get("/v1/orders", headers={"Authorization": f"Bearer {key}".encode("latin-1")})

    assert_problem(answer, 401, "api_key_invalid")


async def test_revoked_key_is_refused_at_once_here_and_soon_elsewhere(
    api: httpx.AsyncClient, open_app: Open, buyer: dict[str, str]
) -> None:
    other, services = await open_app()
    key = await make(api, buyer, Scope.ORDERS_READ)
    assert [(await orders(each, key)).status_code for each in (api, other)] == [200, 200]

    answer = await api.delete(f"/v1/api-keys/{key['id']}", headers=buyer)
    await services.identity.revocations.look()

    assert (answer.status_code, answer.content) == (204, b"")
    for each in (api, other):
        assert_problem(await orders(each, key), 401, "api_key_invalid")
    again = await api.delete(f"/v1/api-keys/{key['id']}", headers=buyer)
    assert_problem(again, 404, "api_key_not_found")


async def test_keys_of_a_suspended_user_are_refused(
    api: httpx.AsyncClient, shop: Shop, buyer: dict[str, str], token_of: TokenOf
) -> None:
    key = await make(api, buyer, Scope.ORDERS_READ)
    assert (await orders(api, key)).status_code == 200

    await api.post(f"/v1/users/{shop.buyer.id}/suspension", headers=token_of(Role.ADMIN))

    assert_problem(await orders(api, key), 401, "api_key_invalid")


async def test_admin_finds_and_ends_keys_of_others(
    api: httpx.AsyncClient, shop: Shop, buyer: dict[str, str], token_of: TokenOf
) -> None:
    key, admin = await make(api, buyer, Scope.ORDERS_READ), token_of(Role.ADMIN)
    query = {"user_id": str(shop.buyer.id)}

    found = (await api.get("/v1/api-keys", params=query, headers=admin)).json()["data"]

    assert [one["id"] for one in found] == [key["id"]]
    assert (await api.get("/v1/api-keys", params=query, headers=token_of(shop.seller))).json()["data"] == []
    assert (await api.delete(f"/v1/api-keys/{key['id']}", headers=admin)).status_code == 204


@pytest.mark.parametrize(
    "scopes", [["everything"], ["orders:read", "orders:read"], ["orders:READ"], [1], "orders:read", {}]
)
async def test_key_is_made_for_known_scopes_alone(
    api: httpx.AsyncClient, buyer: dict[str, str], scopes: object
) -> None:
    answer = await api.post("/v1/api-keys", json={"name": "shop", "scopes": scopes}, headers=buyer)

    assert_problem(answer, 422, "fields_invalid")


async def test_uses_are_written_now_and_then(
    api: httpx.AsyncClient, open_app: Open, buyer: dict[str, str]
) -> None:
    own, services = await open_app()
    used, unused = [await make(api, buyer, Scope.ORDERS_READ) for _ in range(2)]
    for _ in range(3):
        await orders(own, used)
    await services.identity.revocations.note_uses()

    listed = (await api.get("/v1/api-keys", headers=buyer)).json()["data"]

    assert {key["id"]: key["last_used_at"] is not None for key in listed} == {
        used["id"]: True,
        unused["id"]: False,
    }
    assert services.identity.authenticator.take_used() == set()


class Keyed:
    """Makes principals believed without a database, to ask each operation what it lets through."""

    def __init__(self, services: Services, role: Role, user: User | None = None) -> None:
        self._services = services
        self._user = user or a_user(role)

    def header(self, *scopes: Scope) -> dict[str, str]:
        key_id = ApiKeyId(uuid7())
        credential = new_api_key()[1]
        caller = Principal(self._user.id, self._user.role, key_id=key_id, scopes=frozenset(scopes))
        self._services.identity.authenticator._remember(credential, caller, float("inf"))
        return {"Authorization": f"Bearer {credential}"}


@pytest.fixture(params=[Role.BUYER, Role.SELLER, Role.FINANCE, Role.ADMIN])
def keyed(services: Services, request: pytest.FixtureRequest) -> Keyed:
    return Keyed(services, request.param)


async def call_with(api: httpx.AsyncClient, call: Call, key: dict[str, str]) -> httpx.Response:
    # An unknown parameter is refused behind the scope and before anything is done.
    return await api.request(call.method, f"{call.path}?no=1", json=call.body, headers={**call.headers, **key})


@pytest.mark.parametrize("call", WITH_SCOPE, ids=str)
async def test_operation_wants_its_scope(api: httpx.AsyncClient, keyed: Keyed, call: Call) -> None:
    scope = call.operation.scope
    assert scope is not None

    without = await call_with(api, call, keyed.header(*set(Scope) - {scope}))
    having = await call_with(api, call, keyed.header(scope))

    assert assert_problem(without, 403, "scope_missing")["scope"] == scope
    assert_problem(having, 422, "fields_invalid")


@pytest.mark.parametrize("call", WITHOUT_SCOPE, ids=str)
async def test_operation_without_a_scope_wants_a_session(api: httpx.AsyncClient, keyed: Keyed, call: Call) -> None:
    assert_problem(await call_with(api, call, keyed.header(*Scope)), 403, "session_needed")


async def test_key_without_the_scope_of_the_catalog_sees_what_everybody_does(
    api: httpx.AsyncClient, services: Services, shop: Shop, token_of: TokenOf
) -> None:
    keyed = Keyed(services, Role.SELLER, shop.seller)
    desk = f"/v1/products/{shop.product.id}"
    assert (await api.delete(desk, headers=token_of(shop.seller))).status_code == 204

    assert (await api.get(desk, headers=keyed.header(Scope.CATALOG_READ))).status_code == 200
    assert_problem(await api.get(desk, headers=keyed.header(Scope.ORDERS_READ)), 404, "product_not_found")
    open_to_all = f"/v1/products/{shop.other_product.id}"
    assert (await api.get(open_to_all, headers=keyed.header(Scope.ORDERS_READ))).status_code == 200


def test_identity_alone_is_closed_to_keys() -> None:
    assert {call.operation.tag for call in WITHOUT_SCOPE} == {"identity"}


def test_reading_scopes_only_read() -> None:
    assert {call.method for call in WITH_SCOPE if str(call.operation.scope).endswith(":read")} == {"GET"}
    assert "GET" not in {call.method for call in WITH_SCOPE if str(call.operation.scope).endswith(":write")}


async def test_wrong_credentials_are_counted_by_address(open_app: Open, token_of: TokenOf) -> None:
    api, services = await open_app(address_limit_per_minute=6, rate_limit_burst=3)
    await services.redis.delete("rate:address:127.0.0.1")
    key, token = {"Authorization": f"Bearer {new_api_key()[1]}"}, {"Authorization": "Bearer a.b.c"}

    answers = [await api.get("/v1/orders", headers=header) for header in (key, token, key, key, token)]

    await services.redis.delete("rate:address:127.0.0.1")
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]
    assert (await api.get("/v1/orders", headers=token_of(Role.BUYER))).status_code == 200
