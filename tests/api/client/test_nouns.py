"""What the client asks for, and how it waits."""

import json
import time
from collections.abc import Callable
from typing import Any, get_type_hints

import httpx
import pytest

from api.client import FINAL, Client, StillPending, SyncClient, models
from tests.api.client.conftest import Body, Server, ok, streaming

PENDING = {"id": "p1", "status": "pending"}
ACTION = {"id": "p1", "status": "requires_action"}
DONE = {"id": "p1", "status": "succeeded"}
NOT_MODIFIED = httpx.Response(304)


async def test_waiting_ends_when_the_payment_is_settled(server: Server, client: Client) -> None:
    server.will(ok(PENDING, ETag='"1"'), NOT_MODIFIED, ok(DONE, ETag='"2"'))

    assert await client.payments.wait("p1", timeout_s=60) == DONE

    assert server.headers("If-None-Match") == [None, '"1"', '"1"']
    assert [int((prefer or "").removeprefix("wait=")) for prefer in server.headers("Prefer")] == [30, 30, 30]


async def test_waiting_for_more_than_settled_leaves_the_state_that_is_known(
    server: Server, client: Client
) -> None:
    server.will(ok(ACTION, ETag='"1"'), ok(DONE, ETag='"2"'))

    assert await client.payments.wait("p1", until=FINAL) == DONE

    assert server.headers("If-None-Match") == [None, '"1"']


async def test_waiting_without_end_has_an_end(server: Server, client: Client) -> None:
    server.will(ok(PENDING, ETag='"1"'))

    with pytest.raises(StillPending) as raised:
        await client.payments.wait("p1", timeout_s=0.3)

    assert raised.value.payment == PENDING
    assert isinstance(raised.value, TimeoutError)


async def test_server_that_lets_nobody_wait_is_not_asked_without_pause(server: Server, client: Client) -> None:
    server.will(ok(PENDING, ETag='"1"'), NOT_MODIFIED, NOT_MODIFIED, ok(DONE))
    began = time.monotonic()

    await client.payments.wait("p1")

    assert time.monotonic() - began >= 3 * 0.2


async def test_lists_are_read_page_after_page(server: Server, client: Client) -> None:
    server.will(
        ok({"data": [{"id": 1}, {"id": 2}], "next_cursor": "c"}), ok({"data": [{"id": 3}], "next_cursor": None})
    )

    found = [product["id"] async for product in client.products.search("desk", in_stock=True, limit=2)]

    assert found == [1, 2, 3]
    assert [dict(request.url.params) for request in server.asked] == [
        {"q": "desk", "in_stock": "true", "limit": "2"},
        {"q": "desk", "in_stock": "true", "limit": "2", "cursor": "c"},
    ]


CALLS: list[tuple[Callable[[Client], Any], str, str, Any]] = [
    (lambda c: c.users.register("a@b.c", "pw", "buyer"), "POST", "/v1/users", {"role": "buyer"}),
    (lambda c: c.products.get("d"), "GET", "/v1/products/d", None),
    (lambda c: c.products.change("d", stock=3), "PATCH", "/v1/products/d", {"stock": 3}),
    (lambda c: c.cart.get(), "GET", "/v1/cart", None),
    (lambda c: c.cart.put("d", 2), "PUT", "/v1/cart/items/d", {"quantity": 2}),
    (lambda c: c.cart.take_out("d"), "DELETE", "/v1/cart/items/d", None),
    (lambda c: c.cart.empty(), "DELETE", "/v1/cart", None),
    (lambda c: c.orders.place(), "POST", "/v1/orders", {}),
    (
        lambda c: c.orders.place([("d", 2)]),
        "POST",
        "/v1/orders",
        {"items": [{"product_id": "d", "quantity": 2}]},
    ),
    (lambda c: c.orders.get("o"), "GET", "/v1/orders/o", None),
    (lambda c: c.orders.ship("o", "DHL", "1"), "POST", "/v1/orders/o/shipments", {"carrier": "DHL"}),
    (lambda c: c.orders.complete("o"), "POST", "/v1/orders/o/completion", None),
    (lambda c: c.orders.cancel("o"), "POST", "/v1/orders/o/cancellation", None),
    (lambda c: c.payments.pay_seller("s", 5, "USD", "pm"), "POST", "/v1/payments", {"amount_minor": 5}),
    (lambda c: c.payments.capture("p"), "POST", "/v1/payments/p/capture", {}),
    (lambda c: c.payments.capture("p", 5), "POST", "/v1/payments/p/capture", {"amount_minor": 5}),
    (lambda c: c.payments.cancel("p"), "POST", "/v1/payments/p/cancellation", None),
    (lambda c: c.payments.refund("p", "late"), "POST", "/v1/payments/p/refunds", {"reason": "late"}),
    (
        lambda c: c.payments.refund("p", "late", lines=[{"product_id": "d"}]),
        "POST",
        "/v1/payments/p/refunds",
        {"lines": [{"product_id": "d"}]},
    ),
    (lambda c: c.refunds.get("r"), "GET", "/v1/refunds/r", None),
]


@pytest.mark.parametrize(("call", "method", "path", "body"), CALLS)
async def test_call_asks_for_its_noun(
    server: Server, client: Client, call: Callable[[Client], Any], method: str, path: str, body: Any
) -> None:
    server.will(ok({"id": "x"}))

    await call(client)

    (request,) = server.asked
    sent = json.loads(request.content) if request.content else None
    assert (request.method, request.url.path) == (method, path)
    assert sent == body if not body else body.items() <= sent.items()


async def test_events_of_a_payment_are_a_list(server: Server, client: Client) -> None:
    server.will(ok({"data": [{"type": "payment.accepted"}]}))

    assert await client.payments.events("p") == [{"type": "payment.accepted"}]


ANSWERS = {
    models.User: "UserAnswer",
    models.Product: "ProductAnswer",
    models.CartItem: "CartItemAnswer",
    models.Cart: "CartAnswer",
    models.OrderLine: "OrderLineAnswer",
    models.Shipment: "ShipmentAnswer",
    models.Order: "OrderAnswer",
    models.Payment: "PaymentAnswer",
    models.Refund: "RefundAnswer",
    models.RefundLine: "RefundedLineBody",
    models.Event: "EventAnswer",
}


@pytest.mark.parametrize(("model", "name"), ANSWERS.items(), ids=ANSWERS.values())
async def test_types_say_what_the_server_says(api: httpx.AsyncClient, model: type, name: str) -> None:
    described = (await api.get("/openapi.json")).json()["components"]["schemas"]
    properties = described[name]["properties"]

    assert set(get_type_hints(model)) <= set(properties)
    for field in ("status", "role", "capture"):
        if field in get_type_hints(model):
            reference = properties[field].get("$ref", "").rpartition("/")[2]
            literal = get_type_hints(model)[field].__args__
            assert set(described[reference]["enum"]) == set(literal)


def test_synchronous_face_does_the_same(server: Server) -> None:
    server.will(
        ok({"access_token": "t", "refresh_token": "r", "expires_in": 900}),
        ok({"id": "o1"}),
        ok(PENDING, 202),
        ok(DONE),
        ok({"data": [{"id": 1}], "next_cursor": None}),
        ok({"totals": []}),
        streaming(Body('retry: 1\nid: 1\n\nid: 2\ndata: {"type": "order.paid"}\n\n', stays=True)),
    )
    http = httpx.AsyncClient(transport=httpx.MockTransport(server.answer), base_url="http://api.test")
    with SyncClient("http://api.test", http=http) as market:
        market.log_in("ann@example.com", "a password")
        order = market.order([("d", 1)])
        payment = market.pay(order["id"], "pm_card_visa")

        assert market.wait(payment["id"]) == DONE
        assert list(market.each(market.client.products.search("desk"))) == [{"id": 1}]
        assert market.request("GET", "/v1/ledger/trial-balance") == {"totals": []}
        assert next(market.events()) == {"type": "order.paid"}
        market.run(http.aclose)
