"""What the stack writes, wherever it writes it, holds none of the secrets that went through it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from ops.stack import Stack
from tests.e2e.market import Json, Market, new_key
from tests.engines import make_sql_engine
from tests.eventually import eventually
from tests.otlp import Collector

JSON_TYPE = {"Content-Type": "application/json"}


class Planted:
    """Secrets that pass through, by name, and a payment that shows that we looked at the right places."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self.payment: Json = {}
        self.refusals: list[httpx.Response] = []

    def found_in(self, written: bytes) -> list[str]:
        return [name for name, secret in self.secrets.items() if secret.encode() in written]


@pytest.fixture(scope="module")
async def planted(market: Market, stack: Stack) -> Planted:
    planted = Planted()
    secrets = planted.secrets
    secrets["password"] = f"correct horse {uuid4().hex}"
    secrets["new password"] = f"battery staple {uuid4().hex}"
    secrets["wrong password"] = f"wrong horse {uuid4().hex}"
    secrets["e-mail address"] = f"{uuid4().hex}@example.com"
    http = market.http
    user = {"email": secrets["e-mail address"], "password": secrets["password"]}
    assert (await http.post("/v1/users", json={**user, "role": "buyer"})).status_code == 201
    tokens = (await http.post("/v1/tokens", json=user)).json()
    secrets["access token"], secrets["first refresh token"] = tokens["access_token"], tokens["refresh_token"]
    more = (await http.post("/v1/tokens/refresh", json={"refresh_token": tokens["refresh_token"]})).json()
    secrets["second refresh token"] = more["refresh_token"]
    bearer = {"Authorization": f"Bearer {secrets['access token']}"}
    body = {"name": "shop", "scopes": ["orders:read", "orders:write", "payments:read", "payments:write"]}
    secrets["API key"] = (await http.post("/v1/api-keys", json=body, headers=bearer)).json()["key"]
    key = {"Authorization": f"Bearer {secrets['API key']}"}
    hook = {"url": "http://127.0.0.1:9/hooks"}
    secrets["webhook secret"] = (await http.post("/v1/webhook-endpoints", json=hook, headers=bearer)).json()[
        "secret"
    ]
    await pay(market, planted, key)
    planted.refusals = await fail(http, secrets, bearer)
    change = {"current_password": secrets["password"], "new_password": secrets["new password"]}
    assert (await http.post("/v1/users/me/password", json=change, headers=bearer)).status_code == 204
    info, environment = stack.info, stack.layout
    secrets["Stripe's API key"] = info.stripe_api_key
    secrets["Stripe's webhook secret"] = info.stripe_webhook_secret
    secrets["Flower's password"] = info.flower_password
    secrets |= {f"the stack's {name}": value for name, value in of_the_stack(environment.secrets).items()}
    return planted


def of_the_stack(path: Path) -> dict[str, str]:
    """The secrets that the stack made up for itself, those of the users it is seeded with among them."""

    def flat(value: object, name: str) -> dict[str, str]:
        if isinstance(value, dict):
            return {
                key: found for each, inner in value.items() for key, found in flat(inner, f"{name}{each} ").items()
            }
        return {name.strip(): value} if isinstance(value, str) and "@" not in value and len(value) > 12 else {}

    return flat(json.loads(path.read_text()), "")


async def pay(market: Market, planted: Planted, key: dict[str, str]) -> None:
    seller = await market.register("seller")
    product = await market.product(seller)
    items = {"items": [{"product_id": product["id"], "quantity": 1}]}
    headers = {**key, "Idempotency-Key": new_key()}
    order = (await market.http.post("/v1/orders", json=items, headers=headers)).json()
    body = {"order_id": order["id"], "payment_method": "pm_card_authenticationRequired"}
    payment = (
        await market.http.post("/v1/payments", json=body, headers={**key, "Idempotency-Key": new_key()})
    ).json()
    path = f"/v1/payments/{payment['id']}"
    for _ in range(5):
        payment = (await market.http.get(path, headers={**key, "Prefer": "wait=10"})).json()
        if payment["status"] == "requires_action":
            break
    planted.secrets["client secret"] = payment["client_secret"]
    planted.payment = payment
    assert (await market.http.post(f"{path}/cancellation", headers=key)).is_success


async def fail(http: httpx.AsyncClient, secrets: dict[str, str], bearer: dict[str, str]) -> list[httpx.Response]:
    """Send secrets where they are not taken: what is refused is written down, and told, most readily."""
    email, password = secrets["e-mail address"], secrets["wrong password"]
    cut_off = f'{{"email": "{email}", "password": "{password}'
    return [
        await http.post("/v1/tokens", json={"email": email, "password": password}),
        await http.post("/v1/tokens", json={"email": email, "password": [password]}),
        await http.post("/v1/tokens", content=cut_off, headers=JSON_TYPE),
        await http.post("/v1/users", json={"email": email, "password": password, "role": "buyer"}),
        await http.get("/v1/orders", headers={"Authorization": f"Basic {password}"}),
        await http.get("/v1/orders", headers={"Authorization": f"Bearer {secrets['access token'][:-2]}xx"}),
        await http.get("/v1/orders", params={"token": secrets["access token"]}, headers=bearer),
        await http.post("/v1/webhooks/stripe", content=b"{}", headers={"Stripe-Signature": f"t=1,v1={password}"}),
    ]


async def files(stack: Stack) -> AsyncIterator[tuple[str, bytes]]:
    paths = [
        *stack.layout.logs.rglob("*"),
        *(stack.layout.var / "flower").rglob("*"),
        stack.layout.var / "beat-schedule",
    ]
    for path in paths:
        if path.is_file():
            yield str(path), await asyncio.to_thread(path.read_bytes)


async def test_logs_and_files_hold_no_secret(stack: Stack, planted: Planted) -> None:
    written = {name: content async for name, content in files(stack)}

    assert {
        name: planted.found_in(content) for name, content in written.items() if planted.found_in(content)
    } == {}
    # The logs of our own programs are among them, and what they write is what they always write.
    assert any(b'"audit_sealed"' in content for content in written.values()), list(written)
    assert sum(map(len, written.values())) > 1_000


async def test_refusals_repeat_no_secret(planted: Planted) -> None:
    wrong = [answer for answer in planted.refusals if not answer.is_client_error]
    assert [(answer.request.url.path, answer.status_code, answer.text) for answer in wrong] == []
    assert [
        planted.found_in(answer.content) for answer in planted.refusals if planted.found_in(answer.content)
    ] == []


async def test_metrics_hold_no_secret(market: Market, planted: Planted) -> None:
    info = market.info
    async with httpx.AsyncClient(trust_env=False, timeout=35) as http:
        for url in (f"{info.api}/metrics", f"{info.flower}/metrics", *info.worker_metrics):
            answer = await http.get(url)
            assert answer.status_code == 200
            assert planted.found_in(answer.content) == [], url


async def test_traces_hold_no_secret(collector: Collector, planted: Planted) -> None:
    last = "POST /v1/users/me/password"
    await eventually(lambda: any(span.name == last for span in collector.spans))
    assert planted.found_in(collector.raw) == []


async def test_flower_shows_no_secret(market: Market, planted: Planted) -> None:
    info = market.info
    async with httpx.AsyncClient(base_url=info.flower, timeout=35, trust_env=False) as flower:
        for path in ("/api/tasks?limit=10000", "/api/workers", "/tasks", "/broker"):
            answer = await flower.get(path, auth=(info.flower_user, info.flower_password))
            assert answer.status_code == 200
            assert planted.found_in(answer.content) == [], path


async def test_database_holds_no_secret_as_it_is(market: Market, planted: Planted) -> None:
    """Each is hashed or sealed, but a user's address, and an intent's secret in what Stripe told."""
    engine = make_sql_engine(market.info.migration_database_url, pool_size=1, statement_timeout_s=30)
    held = {}
    async with engine.connect() as connection:
        tables = (
            await connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        ).scalars()
        for table in tables.all():
            rows = await connection.execute(text(f'SELECT CAST(t AS text) FROM "{table}" t'))
            held[table] = planted.found_in("\n".join(rows.scalars()).encode())
    await engine.dispose()

    found = {(table, name) for table, names in held.items() for name in names}
    assert found == {("users", "e-mail address"), ("stripe_events", "client secret")}


async def test_redis_holds_no_secret(market: Market, planted: Planted) -> None:
    for url in (market.info.redis_url, market.info.broker_url):
        async with Redis.from_url(url) as redis:
            dumped = [key + (await redis.dump(key) or b"") async for key in redis.scan_iter(count=1_000)]
        assert planted.found_in(b"\n".join(dumped)) == []
