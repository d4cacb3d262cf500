"""What is sent stays what it is: no statement, no template, no header, no line of a log, no right."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from api.catalog.search import write_place
from domain.catalog.query import Place, ProductQuery, Sort
from domain.identity.model import Role, User
from domain.ids import ProductId
from tests.api.operations import CALLS, Call, assert_problem
from tests.builders import Shop

TokenOf = Callable[[User | Role], dict[str, str]]
WITH_BODY = [call for call in CALLS if call.operation.body is not None]
SQL = (
    "' OR '1'='1",
    "'; DROP TABLE users; --",
    "1); SELECT pg_sleep(30); --",
    "\\'; SELECT 1 --",
    "$$; SELECT 1; $$",
    "x' UNION SELECT password_hash FROM users --",
    "%' AND 1=1 --",
    ":email",
    "%(email)s",
    "$1",
)
TEMPLATES = (
    "{{7*7}}",
    "${7*7}",
    "#{7*7}",
    "<%= 7*7 %>",
    "{0.__class__.__mro__}",
    "%s%s%n",
    "${jndi:ldap://127.0.0.1/a}",
)
MARKUP = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>')
LINES = ("a\r\nSet-Cookie: session=1", 'a\n{"event":"forged","level":"info"}', "a\x1b[2Jb", "a\u2028b")
HOSTILE = (*SQL, *TEMPLATES, *MARKUP, *LINES)

# What a body never decides: whose a thing is, what state it is in, what it costs, what its sender may do.
PROTECTED = {
    "id": str(uuid4()),
    "user_id": str(uuid4()),
    "owner_id": str(uuid4()),
    "buyer_id": str(uuid4()),
    "seller_id": str(uuid4()),
    "role": "admin",
    "is_admin": True,
    "sees_all": True,
    "scopes": ["finance:read"],
    "status": "succeeded",
    "state": "paid",
    "amount_minor": 1,
    "price_minor": 1,
    "fee_minor": 0,
    "commission_bps": 0,
    "captured_minor": 1,
    "refunded_minor": 1,
    "available_at": "2020-01-01T00:00:00Z",
    "created_at": "2020-01-01T00:00:00Z",
    "stripe_intent_id": "pi_1",
    "stripe_account_id": "acct_1",
    "password_hash": "x",
    "suspended_at": None,
    "version": 1,
    "__proto__": {"role": "admin"},
    "__class__": "User",
}


def calls(chosen: list[Call]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("call", chosen, ids=str)


async def send(api: httpx.AsyncClient, call: Call, token: dict[str, str], body: object) -> httpx.Response:
    key = {"Idempotency-Key": uuid4().hex} if call.operation.idempotent else {}
    return await api.request(call.method, call.path, headers={**call.headers, **token, **key}, json=body)


@calls(WITH_BODY)
async def test_text_of_an_attacker_is_text_or_refused(
    api: httpx.AsyncClient, token_of: TokenOf, call: Call
) -> None:
    tokens = [token_of(role) for role in (Role.BUYER, Role.SELLER, Role.FINANCE)][
        : 1 if call.operation.public else 3
    ]
    for name, value in (call.body or {}).items():
        # Passwords cost much to compare, and go nowhere but into a hash.
        chosen = HOSTILE[:: 8 if "password" in name or name == "email" else 1]
        for hostile in chosen if isinstance(value, str) else ():
            for token in tokens:
                answer = await send(api, call, token, {**(call.body or {}), name: hostile})
                assert answer.status_code < 500, (name, hostile, answer.text)
                answer.json()


@calls([call for call in CALLS if call.method == "GET" and call.operation.query.model_fields])
async def test_parameter_of_an_attacker_is_text_or_refused(
    api: httpx.AsyncClient, token_of: TokenOf, call: Call
) -> None:
    token = {} if call.operation.public else token_of(Role.ADMIN if "/users" in call.path else Role.FINANCE)
    for name, field in call.operation.query.model_fields.items():
        for hostile in HOSTILE:
            answer = await api.get(call.path, params={field.alias or name: hostile}, headers=token)
            assert answer.status_code < 500, (name, hostile, answer.text)
            if answer.is_success and "facets" not in answer.json():
                assert answer.json()["data"] == [], (name, hostile)


@pytest.mark.parametrize("sort", [Sort.PRICE_ASC, Sort.PRICE_DESC])
async def test_search_is_narrowed_by_an_attackers_text_alone(
    api: httpx.AsyncClient, shop: Shop, sort: Sort
) -> None:
    """By price the search has statements of its own, which a cursor of a later page reaches at once."""
    beyond = Place(key=0.0 if sort is Sort.PRICE_ASC else 2.0**52, id=ProductId(UUID(int=1)))
    for hostile in HOSTILE:
        cursor = write_place(beyond, ProductQuery(category=hostile, sort=sort)) or ""
        parameters = {"category": hostile, "sort": str(sort)}

        answers = [
            await api.get("/v1/products", params={**parameters, **more}) for more in ({}, {"cursor": cursor})
        ]

        for answer in answers:
            assert answer.status_code == 200, (hostile, answer.text)
            assert {product["category"] for product in answer.json()["data"]} <= {hostile}


async def test_idempotency_key_of_an_attacker_is_a_key(
    api: httpx.AsyncClient, token_of: TokenOf, shop: Shop
) -> None:
    """The one header that goes into a statement; whatever stands in it names what was made under it."""
    buyer = token_of(shop.buyer)
    direct = {"seller_id": str(shop.seller.id), "amount_minor": 100, "currency": "USD"}
    bodies = {
        "/v1/payments": {**direct, "payment_method": "pm_card_visa"},
        "/v1/orders": {"items": [{"product_id": str(shop.product.id), "quantity": 1}]},
    }
    for path, body in bodies.items():
        made = set()
        for hostile in (*SQL, *TEMPLATES):
            headers = {**buyer, "Idempotency-Key": hostile}
            first, again = [await api.post(path, json=body, headers=headers) for _ in range(2)]
            assert first.is_success, (path, hostile, first.text)
            assert again.headers["Idempotent-Replayed"] == "true"
            assert again.json()["id"] == first.json()["id"]
            made.add(first.json()["id"])
        assert len(made) == len(SQL) + len(TEMPLATES)


async def test_hostile_text_comes_back_as_it_was_given(
    api: httpx.AsyncClient, token_of: TokenOf, shop: Shop
) -> None:
    seller = token_of(shop.seller)
    for hostile in HOSTILE:
        product = {"title": hostile, "description": hostile, "price_minor": 100, "currency": "USD"}
        made = await api.post("/v1/products", json=product, headers=seller)
        if made.status_code == 422:
            continue
        assert made.status_code == 201, made.text
        read = (await api.get(f"/v1/products/{made.json()['id']}", headers=seller)).json()
        assert (read["title"], read["description"]) == (hostile, hostile)
        assert made.headers["Content-Type"] == "application/json", "a browser takes it for nothing else"
        assert made.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", ["X-Request-Id", "Idempotency-Key", "If-None-Match", "Prefer", "traceparent"])
@pytest.mark.parametrize("hostile", LINES)
async def test_header_is_not_split_by_what_a_client_sends(
    api: httpx.AsyncClient, token_of: TokenOf, shop: Shop, name: str, hostile: str
) -> None:
    headers = {**token_of(shop.seller), name: hostile.encode()}

    answer = await api.get(f"/v1/products/{shop.product.id}", headers=headers)

    assert "Set-Cookie" not in answer.headers
    assert not any("\n" in value or "\r" in value or "session" in value for value in answer.headers.values())


def test_log_has_a_line_for_each_event_whatever_is_in_it() -> None:
    program = """
import logging, structlog, sys
from ops.telemetry import configure_logs
configure_logs("json", "INFO")
hostile = sys.argv[1]
structlog.get_logger().warning("refused", reason=hostile)
logging.getLogger("library").warning("refused %s", hostile)
try:
    raise ValueError(hostile)
except ValueError:
    structlog.get_logger().exception("failed")
"""
    for hostile in LINES:
        output = subprocess.run(
            [sys.executable, "-c", program, hostile], capture_output=True, check=True, text=True
        )
        lines = output.stderr.strip().split("\n")
        assert [json.loads(line)["level"] for line in lines] == ["warning", "warning", "error"]


def foreign_fields(call: Call) -> Iterator[tuple[str, Any]]:
    """Bodies with a member more that is not the sender's to say, at the top and inside."""
    body = call.body or {}
    assert call.operation.body is not None
    known = {field.alias or name for name, field in call.operation.body.model_fields.items()}
    for name, value in PROTECTED.items():
        if name not in known:
            yield name, {**body, name: value}
    for outer, inside in body.items():
        for first in inside[:1] if isinstance(inside, list) else ():
            if isinstance(first, dict):
                yield f"{outer}.owner_id", {**body, outer: [{**first, "owner_id": str(uuid4())}]}
        if isinstance(inside, dict):
            yield f"{outer}.owner_id", {**body, outer: {**inside, "owner_id": str(uuid4())}}


@calls(WITH_BODY)
async def test_nobody_assigns_what_is_not_his_to_say(
    api: httpx.AsyncClient, token_of: TokenOf, call: Call
) -> None:
    """Mass assignment: each such member is refused by its name, and not left out in silence."""
    token = token_of(Role.BUYER)
    for name, body in foreign_fields(call):
        problem = assert_problem(await send(api, call, token, body), 422, "fields_invalid")
        assert any(error["field"].endswith(name.rpartition(".")[2]) for error in problem["errors"]), problem
