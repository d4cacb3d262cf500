"""What operators and developers look at: health, metrics, documents, request ids."""

import asyncio
import re
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import httpx
import pytest
from falcon.asgi import Request, Response
from openapi_spec_validator import validate

from api import service
from api.metrics import sealing_page
from api.services import Services
from db.breaker_rules import BreakerPolicy
from domain.identity.model import Role, User
from domain.work import Work
from tests.api.conftest import Open
from tests.api.operations import CALLS, Call, assert_problem
from tests.builders import NOW, Shop
from tests.eventually import eventually

TokenOf = Callable[[User | Role], dict[str, str]]


async def test_openapi_is_valid(api: httpx.AsyncClient) -> None:
    described = (await api.get("/openapi.json")).json()

    validate(described)
    assert described["openapi"] == "3.1.0"


@pytest.mark.parametrize("call", CALLS, ids=str)
async def test_openapi_describes_the_operation(api: httpx.AsyncClient, call: Call) -> None:
    described = (await api.get("/openapi.json")).json()
    path = re.sub(r":uuid}", "}", call.template)

    operation = described["paths"][path][call.method.lower()]

    assert str(int(call.operation.status)) in operation["responses"]
    scope = call.operation.scope
    private = [{"token": []}, *([{"api_key": [scope]}] if scope else [])]
    assert operation["security"] in ([[], [{}, *private]] if call.operation.public else [private])
    assert ("requestBody" in operation) == (call.operation.body is not None or call.operation.raw_body)
    headers = {each["name"]: each["required"] for each in operation["parameters"] if each["in"] == "header"}
    assert ("Idempotency-Key" in headers) == call.operation.idempotent
    assert headers.get("Idempotency-Key", False) == (call.operation.idempotent and not call.operation.optional_key)
    has_body = call.method == "POST" or "requestBody" in operation
    assert ({"413", "415"} <= operation["responses"].keys()) == has_body


async def test_operation_ids_are_unique(api: httpx.AsyncClient) -> None:
    paths = (await api.get("/openapi.json")).json()["paths"]
    ids = [operation["operationId"] for methods in paths.values() for operation in methods.values()]

    assert len(set(ids)) == len(ids) == len(CALLS)


async def test_reference_page_loads_nothing_from_elsewhere(api: httpx.AsyncClient) -> None:
    answer = await api.get("/docs")

    assert answer.headers["Content-Type"].startswith("text/html")
    assert re.findall(r"<(script|link|img|iframe|object|embed|base|form)\b", answer.text) == []
    assert re.findall(r"(?:src|href|action)=\"(?!/)[^\"]*\"|url\(|@import", answer.text) == []
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert all(call.template.split("{")[0] in answer.text for call in CALLS)


@pytest.mark.parametrize("responder", ["on_get", "on_get_page"])
async def test_describing_the_api_holds_up_nobody(responder: str) -> None:
    may_end = threading.Event()

    def describe() -> dict[str, Any]:
        assert may_end.wait(30)
        return {
            "info": {"title": "x", "version": "1", "description": ""},
            "paths": {},
            "components": {"schemas": {}},
        }

    req = cast("Request", None)
    described = asyncio.create_task(getattr(service.Documents(describe), responder)(req, Response()))
    await asyncio.sleep(0)
    may_end.set()

    await described


async def becomes(api: httpx.AsyncClient, status: str, checks: dict[str, str]) -> bool:
    """Wait until the service is ready and says so; a part that answers late is told of as one that is away."""

    async def look() -> bool:
        answer = await api.get("/health/ready")
        assert (answer.status_code, answer.json()) == (200, {"status": status, "checks": checks})
        return True

    return await eventually(look)


async def test_ready_names_each_part(api: httpx.AsyncClient) -> None:
    assert await becomes(api, "ok", {"database": "ok", "redis": "ok", "broker": "ok"})


async def test_without_redis_and_broker_the_service_is_degraded(open_app: Open, closed_port: int) -> None:
    away = f"redis://127.0.0.1:{closed_port}/1"
    api, _ = await open_app(redis_url=away, broker_url=away)

    assert await becomes(api, "degraded", {"database": "ok", "redis": "unavailable", "broker": "unavailable"})


async def test_parts_are_looked_at_once_for_all_who_ask_together(
    open_app: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = asyncio.Event()
    begun: list[None] = []

    async def check_broker(_: Services) -> None:
        begun.append(None)
        await may_end.wait()

    monkeypatch.setattr(Services, "check_broker", check_broker)
    api, _ = await open_app()
    first = asyncio.create_task(api.get("/health/ready"))
    await eventually(lambda: bool(begun))
    others = [asyncio.create_task(api.get("/health/ready")) for _ in range(5)]
    await asyncio.sleep(0.1)
    may_end.set()

    answers = await asyncio.gather(first, *others)
    assert {answer.status_code for answer in answers} == {200}
    assert len(begun) == 2


@pytest.fixture
async def without_database(open_app: Open, tmp_path: Path) -> httpx.AsyncClient:
    return (await open_app(database_url=f"postgresql://app@/marketflow?host={tmp_path}"))[0]


async def test_without_database_the_service_is_alive_and_not_ready(without_database: httpx.AsyncClient) -> None:
    live, ready = await without_database.get("/health/live"), await without_database.get("/health/ready")

    assert live.status_code == 200
    assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
    assert ready.json()["checks"]["database"] == "unavailable"


async def test_without_database_a_request_is_told_to_come_back(
    without_database: httpx.AsyncClient, token_of: TokenOf
) -> None:
    body = {"seller_id": str(uuid4()), "amount_minor": 1999, "currency": "USD", "payment_method": "pm_card_visa"}
    caller = {**token_of(Role.BUYER), "Idempotency-Key": "a-key"}

    answers = [
        await without_database.post("/v1/payments", json=body, headers=caller),
        await without_database.get("/v1/orders", headers=caller),
        await without_database.get("/v1/products"),
    ]

    for answer in answers:
        problem = assert_problem(answer, 503, "database_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
        assert "postgres" not in problem["detail"].lower()


async def test_without_broker_a_payment_is_accepted(
    open_app: Open, closed_port: int, shop: Shop, token_of: TokenOf
) -> None:
    api, services = await open_app(broker_url=f"redis://127.0.0.1:{closed_port}/1")
    order = await shop.order()

    answer = await api.post(
        "/v1/payments",
        json={"order_id": str(order.id), "payment_method": "pm_card_visa"},
        headers={**token_of(shop.buyer), "Idempotency-Key": uuid4().hex},
    )
    await services.announcer.drain()

    assert (answer.status_code, answer.json()["status"]) == (202, "pending")


@pytest.mark.parametrize("method", ["WEBSOCKET", "M00000001", "INVENTED", "PRI"])
async def test_methods_that_callers_invent_are_one_in_what_is_measured(
    api: httpx.AsyncClient, method: str
) -> None:
    answer = await api.request(method, "/v1/payments")

    assert_problem(answer, 400)
    assert answer.headers["X-Request-Id"]
    page = (await api.get("/metrics")).text
    assert method not in page
    assert 'method="UNKNOWN"' in page


async def test_metrics_are_ours(api: httpx.AsyncClient, token_of: TokenOf) -> None:
    path = f"/v1/orders/{uuid4()}"
    await api.get(path, headers=token_of(Role.BUYER))

    page = (await api.get("/metrics")).text

    sample = 'marketflow_http_request_seconds_count{method="GET",route="/v1/orders/{order_id:uuid}",status="404"}'
    assert sample in page
    assert path not in page
    for name in ("batch_size", "idempotent_replays_total", "api_announcements_lost_total"):
        assert f"marketflow_{name}" in page


async def test_metrics_of_all_processes_are_added_up(open_app: Open, tmp_path: Path) -> None:
    api, _ = await open_app(prometheus_dir=tmp_path)

    assert (await api.get("/metrics")).status_code == 200


async def test_metrics_hold_up_nobody_and_are_added_up_once_for_all_who_wait(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end, begun = threading.Event(), []

    def add_up(_: object) -> bytes:
        begun.append(threading.current_thread())
        assert may_end.wait(30)
        return b"page\n"

    monkeypatch.setattr(service, "generate_latest", add_up)
    first = asyncio.create_task(api.get("/metrics"))
    await eventually(lambda: bool(begun))
    others = [asyncio.create_task(api.get("/metrics")) for _ in range(5)]
    assert (await api.get("/health/live")).status_code == 200
    await asyncio.sleep(0.1)
    may_end.set()

    pages = [answer.text for answer in await asyncio.gather(first, *others)]
    assert all(page.startswith("page\n") for page in pages)
    assert len(begun) == 2


@pytest.mark.parametrize("given", ["order-7", "A.b_c-1", "x" * 64])
async def test_request_id_of_the_caller_is_kept(api: httpx.AsyncClient, given: str) -> None:
    assert (await api.get("/health/live", headers={"X-Request-Id": given})).headers["X-Request-Id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\tb", "<script>", "\xff"])
async def test_odd_request_id_is_replaced(api: httpx.AsyncClient, given: str) -> None:
    answer = await api.get("/nowhere", headers={"X-Request-Id": given.encode("latin-1")})

    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-Id"])


async def test_answers_are_neither_stored_nor_guessed_at(api: httpx.AsyncClient) -> None:
    headers = (await api.get("/v1/products")).headers

    assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")


async def test_options_tell_the_methods(api: httpx.AsyncClient) -> None:
    answer = await api.options("/v1/payments")

    assert answer.status_code == 200
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "POST"}


@pytest.mark.parametrize("path", ["/health/live", "/v1/products", "/openapi.json"])
async def test_head_is_that_of_the_answer(api: httpx.AsyncClient, path: str) -> None:
    head, whole = await api.head(path), await api.get(path)

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Type"] == whole.headers["Content-Type"]


async def test_head_of_what_one_may_not_see_is_refused_as_it_is(api: httpx.AsyncClient) -> None:
    assert (await api.head("/v1/payments")).status_code == 401


async def test_metrics_tell_where_the_breaker_before_stripe_stands(
    api: httpx.AsyncClient, services: Services
) -> None:
    async def states() -> dict[str, float]:
        page = (await api.get("/metrics")).text
        found = re.findall(r'^marketflow_stripe_breaker_state\{state="(\w+)"\} (\S+)$', page, re.MULTILINE)
        return {state: float(value) for state, value in found}

    def only(state: str) -> dict[str, float]:
        return {each: float(each == state) for each in ("closed", "open", "half_open", "quiet")}

    rules, policy = services.breaker_rules, BreakerPolicy()
    try:
        assert await states() == only("closed")
        for _ in range(policy.failures):
            await rules.fail("")
        assert await states() == only("open")
        await services.redis.set("stripe:breaker:half_open_at", 1)
        assert await states() == only("half_open")
        await rules.enter("a trial")
        assert await states() == only("half_open")
        await rules.succeed("a trial")
        await rules.quiet(60)
        assert await states() == only("quiet")
    finally:
        await services.redis.delete(*await services.redis.keys("stripe:breaker:*"))


async def test_metrics_tell_what_is_due_and_for_how_long(api: httpx.AsyncClient) -> None:
    page = (await api.get("/metrics")).text

    for gauge in ("marketflow_work_due", "marketflow_work_oldest_seconds", "marketflow_work_quarantined"):
        found = dict(re.findall(rf'^{gauge}\{{work="(\w+)"\}} (\S+)$', page, re.MULTILINE))
        assert set(found) == set(Work)
        assert all(float(value) >= 0 for value in found.values())


async def test_metrics_tell_how_far_sealing_is_behind(api: httpx.AsyncClient) -> None:
    def unsealed(page: str) -> list[str]:
        return re.findall(r"^marketflow_audit_unsealed_seconds (\S+)$", page, re.MULTILINE)

    assert unsealed(sealing_page(NOW - timedelta(seconds=90), NOW).decode()) == ["90.0"]
    assert unsealed(sealing_page(None, NOW).decode()) == ["0.0"]
    assert len(unsealed((await api.get("/metrics")).text)) == 1


async def test_metrics_tell_for_how_long_streams_stand_still(api: httpx.AsyncClient) -> None:
    page = (await api.get("/metrics")).text

    assert re.findall(r"^marketflow_streams_stalled_seconds (\S+)$", page, re.MULTILINE) == ["0.0"]


async def test_without_database_metrics_tell_the_rest(without_database: httpx.AsyncClient) -> None:
    answer = await without_database.get("/metrics")

    assert answer.status_code == 200
    assert "marketflow_http_request_seconds" in answer.text
    assert "marketflow_work_due" not in answer.text


async def test_without_redis_nobody_knows_where_the_breaker_stands(open_app: Open, closed_port: int) -> None:
    api, _ = await open_app(redis_url=f"redis://127.0.0.1:{closed_port}/1")

    answer = await api.get("/metrics")

    assert answer.status_code == 200
    assert "marketflow_stripe_breaker_state" not in answer.text
