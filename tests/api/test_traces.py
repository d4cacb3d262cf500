"""`GET /v1/trace/{id}`: explain this cent, over HTTP."""

from collections.abc import Callable
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx

from domain.identity.model import Role, User
from tests.api.operations import assert_problem
from tests.builders import Shop

TokenOf = Callable[[User | Role], dict[str, str]]


async def pay(api: httpx.AsyncClient, shop: Shop, token: dict[str, str], **headers: str) -> httpx.Response:
    body = {"order_id": str((await shop.order()).id), "payment_method": "pm_card_visa"}
    answer = await api.post(
        "/v1/payments", json=body, headers={**token, "Idempotency-Key": uuid4().hex, **headers}
    )
    assert answer.status_code == 202, answer.text
    return answer


async def test_id_of_a_request_leads_to_its_payment(
    api: httpx.AsyncClient, shop: Shop, token_of: TokenOf, finance: dict[str, str]
) -> None:
    paid = await pay(api, shop, token_of(shop.buyer))

    trace = (await api.get(f"/v1/trace/{paid.headers['X-Request-Id']}", headers=finance)).json()

    payment = paid.json()
    assert (trace["kind"], trace["is_cut"]) == ("request", False)
    order, request, found = [node for node in trace["nodes"] if node["kind"] in {"order", "request", "payment"}]
    assert order["id"] == payment["order_id"]
    assert (request["parent_kind"], request["parent_id"], request["depth"]) == ("order", order["id"], 1)
    assert (found["id"], found["parent_id"], found["depth"]) == (payment["id"], request["id"], 2)
    assert (found["facts"]["amount_minor"], found["facts"]["currency"]) == (1999, "USD")


async def test_ids_of_requests_begin_with_their_time_and_come_before_what_they_make(
    api: httpx.AsyncClient, shop: Shop, token_of: TokenOf
) -> None:
    token = token_of(shop.buyer)

    paid = [await pay(api, shop, token) for _ in range(5)]

    requests = [UUID(answer.headers["X-Request-Id"]) for answer in paid]
    assert len(set(requests)) == len(paid)
    for request, answer in zip(requests, paid, strict=True):
        # What has a version of its own is left out of the index of the ids that callers brought.
        assert request.version == 7
        assert request < UUID(answer.json()["id"])


async def test_id_that_a_caller_brought_and_its_key_lead_to_its_payment(
    api: httpx.AsyncClient, shop: Shop, token_of: TokenOf, finance: dict[str, str]
) -> None:
    own = f"shop-{uuid4().hex}"
    key = f"shop 4711: {uuid4()}"
    paid = await pay(api, shop, token_of(shop.buyer), **{"X-Request-Id": own, "Idempotency-Key": key})

    traces = [(await api.get(f"/v1/trace/{quote(sought)}", headers=finance)).json() for sought in (own, key)]

    assert [trace["kind"] for trace in traces] == ["request", "idempotency_key"]
    for trace in traces:
        assert own in {node["id"] for node in trace["nodes"] if node["kind"] == "request"}
        assert paid.json()["id"] in {node["id"] for node in trace["nodes"]}
    assert_problem(await api.get(f"/v1/trace/{own}-2", headers=finance), 404, "trace_not_found")
