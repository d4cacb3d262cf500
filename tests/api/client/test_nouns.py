"""What the client asks for, and how it waits."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints, is_typeddict

import httpx
import pytest

from api.client import FINAL, Client, StillPending, SyncClient, Unanswered, models, payments
from api.client.noun import Noun
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


@pytest.mark.parametrize("known", [True, False])
async def test_waiting_has_an_end_where_nobody_answers(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch, *, known: bool
) -> None:
    monkeypatch.setattr(payments, "_GRACE_S", 0.2)
    server.will(*([ok(PENDING, ETag='"1"')] * known), httpx.ConnectError("refused"))
    began = time.monotonic()

    with pytest.raises(StillPending if known else Unanswered) as raised:
        await client.payments.wait("p1", timeout_s=0.1)

    assert time.monotonic() - began < 10
    assert getattr(raised.value, "payment", None) == (PENDING if known else None)


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


async def test_filter_that_is_none_is_no_filter(server: Server, client: Client) -> None:
    server.will(ok({"data": [], "next_cursor": None}))

    assert [each async for each in client.products.search("desk", category=None, in_stock=False)] == []
    assert [each async for each in client.orders.list(status=None)] == []

    assert [dict(request.url.params) for request in server.asked] == [{"q": "desk", "in_stock": "false"}, {}]


@dataclass(frozen=True)
class Example:
    """A call of the client, and the request that it makes."""

    call: str
    arguments: tuple[Any, ...]
    request: str
    body: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def make(self, client: Client) -> Any:
        """Make the call: what is to be awaited, or iterated."""
        noun, name = self.call.split(".")
        return getattr(getattr(client, noun), name)(*self.arguments, **self.options)

    def __str__(self) -> str:
        return self.call


SCOPES = ["orders:read"]
SINCE = "2026-11-25T00:00:00Z"
EXAMPLES = [
    Example("users.register", ("a@b.c", "pw", "buyer"), "POST /v1/users", {"role": "buyer"}),
    Example("users.get", ("u",), "GET /v1/users/u"),
    Example("users.change_password", ("old", "new"), "POST /v1/users/me/password", {"new_password": "new"}),
    Example("api_keys.create", ("shop", SCOPES), "POST /v1/api-keys", {"name": "shop", "scopes": SCOPES}),
    Example("api_keys.list", (), "GET /v1/api-keys"),
    Example("api_keys.revoke", ("k",), "DELETE /v1/api-keys/k"),
    Example("products.offer", ("Desk", 5, "USD"), "POST /v1/products", {"title": "Desk", "price_minor": 5}),
    Example("products.get", ("d",), "GET /v1/products/d"),
    Example("products.change", ("d",), "PATCH /v1/products/d", {"stock": 3}, {"stock": 3}),
    Example("products.withdraw", ("d",), "DELETE /v1/products/d"),
    Example("products.search", (), "GET /v1/products"),
    Example("cart.get", (), "GET /v1/cart"),
    Example("cart.put", ("d", 2), "PUT /v1/cart/items/d", {"quantity": 2}),
    Example("cart.take_out", ("d",), "DELETE /v1/cart/items/d"),
    Example("cart.empty", (), "DELETE /v1/cart"),
    Example("orders.place", (), "POST /v1/orders", {}),
    Example("orders.place", ([("d", 2)],), "POST /v1/orders", {"items": [{"product_id": "d", "quantity": 2}]}),
    Example("orders.get", ("o",), "GET /v1/orders/o"),
    Example("orders.list", (), "GET /v1/orders"),
    Example("orders.ship", ("o", "DHL", "1"), "POST /v1/orders/o/shipments", {"carrier": "DHL"}),
    Example("orders.ship", ("o",), "POST /v1/orders/o/shipments", {"carrier": None}),
    Example("orders.complete", ("o",), "POST /v1/orders/o/completion"),
    Example("orders.cancel", ("o",), "POST /v1/orders/o/cancellation"),
    Example("payments.pay", ("o", "pm"), "POST /v1/payments", {"order_id": "o", "payment_method": "pm"}),
    Example("payments.pay_seller", ("s", 5, "USD", "pm"), "POST /v1/payments", {"amount_minor": 5}),
    Example("payments.get", ("p",), "GET /v1/payments/p"),
    Example("payments.wait", ("p",), "GET /v1/payments/p"),
    Example("payments.list", (), "GET /v1/payments"),
    Example("payments.events", ("p",), "GET /v1/payments/p/events"),
    Example("payments.refunds", ("p",), "GET /v1/payments/p/refunds"),
    Example("payments.capture", ("p",), "POST /v1/payments/p/capture", {}),
    Example("payments.capture", ("p", 5), "POST /v1/payments/p/capture", {"amount_minor": 5}),
    Example("payments.cancel", ("p",), "POST /v1/payments/p/cancellation"),
    Example("payments.refund", ("p", "late"), "POST /v1/payments/p/refunds", {"reason": "late"}),
    Example(
        "payments.refund",
        ("p", "late"),
        "POST /v1/payments/p/refunds",
        {"lines": [{"product_id": "d"}]},
        {"lines": [{"product_id": "d"}]},
    ),
    Example("refunds.get", ("r",), "GET /v1/refunds/r"),
    Example("disputes.get", ("d",), "GET /v1/disputes/d"),
    Example("disputes.list", (), "GET /v1/disputes", options={"status": "lost"}),
    Example("sellers.me", (), "GET /v1/sellers/me"),
    Example("sellers.onboard", (), "POST /v1/sellers/me/onboarding"),
    Example("sellers.balance", (), "GET /v1/sellers/me/balance"),
    Example("sellers.statement", (), "GET /v1/sellers/me/statement"),
    Example("sellers.statement_csv", (SINCE,), "GET /v1/sellers/me/statement"),
    Example("payouts.request", ("USD",), "POST /v1/payouts", {"currency": "USD"}),
    Example("payouts.get", ("p",), "GET /v1/payouts/p"),
    Example("payouts.list", (), "GET /v1/payouts"),
    Example("webhook_endpoints.create", ("https://x",), "POST /v1/webhook-endpoints", {"events": ["*"]}),
    Example("webhook_endpoints.get", ("e",), "GET /v1/webhook-endpoints/e"),
    Example("webhook_endpoints.list", (), "GET /v1/webhook-endpoints"),
    Example("webhook_endpoints.delete", ("e",), "DELETE /v1/webhook-endpoints/e"),
    Example("webhook_endpoints.rotate_secret", ("e",), "POST /v1/webhook-endpoints/e/secret", {}),
    Example(
        "webhook_endpoints.rotate_secret",
        ("e",),
        "POST /v1/webhook-endpoints/e/secret",
        {"overlap_s": 0},
        {"overlap_s": 0},
    ),
    Example("webhook_endpoints.activate", ("e",), "POST /v1/webhook-endpoints/e/activation"),
    Example("webhook_endpoints.deliveries", ("e",), "GET /v1/webhook-endpoints/e/deliveries"),
    Example(
        "webhook_endpoints.redeliver", ("e", SINCE), "POST /v1/webhook-endpoints/e/redeliveries", {"since": SINCE}
    ),
    Example(
        "webhook_endpoints.redeliver_events",
        ("e", ["v"]),
        "POST /v1/webhook-endpoints/e/redeliveries",
        {"event_ids": ["v"]},
    ),
    Example("deliveries.retry", ("d",), "POST /v1/deliveries/d/retry"),
]
ANSWER = {"id": "x", "status": "succeeded", "data": [], "lines": [], "next_cursor": None}

OF_THE_CLIENT_ITSELF = {
    "POST /v1/tokens": "log_in",
    "POST /v1/tokens/refresh": "log_in",
    "DELETE /v1/tokens": "log_out",
    "GET /v1/events": "events",
}
OF_OPERATORS = {
    "GET /v1/users",
    "POST /v1/users/{user_id}/suspension",
    "DELETE /v1/users/{user_id}/suspension",
    "GET /v1/ledger/accounts",
    "GET /v1/ledger/accounts/{account}/entries",
    "GET /v1/ledger/journals/{journal_id}",
    "GET /v1/ledger/trial-balance",
    "POST /v1/reconciliations",
    "GET /v1/reconciliations",
    "GET /v1/reconciliations/{run_id}",
    "GET /v1/reconciliations/{run_id}/exceptions",
    "POST /v1/reconciliations/{run_id}/exceptions/{exception_id}/resolution",
    "GET /v1/trace/{any_id}",
    "POST /v1/webhooks/stripe",
    "GET /health/live",
    "GET /health/ready",
    "GET /metrics",
    "GET /openapi.json",
    "GET /docs",
}
"""What finance, admins, Stripe and machines ask for: `client.request` reaches that too."""


async def answer_of(call: Any) -> Any:
    return [row async for row in call] if hasattr(call, "__aiter__") else await call


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
async def test_call_asks_for_its_noun(server: Server, client: Client, example: Example) -> None:
    server.will(ok(ANSWER))

    await answer_of(example.make(client))

    (request,) = server.asked
    sent = json.loads(request.content) if request.content else None
    assert f"{request.method} {request.url.path}" == example.request
    assert sent == example.body if not example.body else example.body.items() <= sent.items()


def test_every_call_has_an_example() -> None:
    nouns = {name: noun for name, noun in vars(Client("http://api.test")).items() if isinstance(noun, Noun)}
    calls = {f"{name}.{call}" for name, noun in nouns.items() for call in dir(noun) if not call.startswith("_")}

    assert calls == {example.call for example in EXAMPLES}


async def test_client_reaches_every_operation_that_programs_of_customers_use(api: httpx.AsyncClient) -> None:
    paths = (await api.get("/openapi.json")).json()["paths"]
    operations = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}

    def reached(operation: str) -> bool:
        pattern = re.sub(r"{\w+}", "[^/]+", re.escape(operation).replace(r"\{", "{").replace(r"\}", "}"))
        return any(re.fullmatch(pattern, example.request) for example in EXAMPLES)

    assert {operation for operation in operations if not reached(operation)} == {
        *OF_THE_CLIENT_ITSELF,
        *OF_OPERATORS,
    }
    assert all(callable(getattr(Client, name)) for name in OF_THE_CLIENT_ITSELF.values())


def test_synchronous_face_makes_every_call(server: Server) -> None:
    server.will(ok(ANSWER))
    http = httpx.AsyncClient(transport=httpx.MockTransport(server.answer), base_url="http://api.test")
    with SyncClient("http://api.test", http=http) as market:
        for example in EXAMPLES:
            call = example.make(market.client)
            _ = list(market.each(call)) if hasattr(call, "__aiter__") else market.run(lambda call=call: call)
        market.run(http.aclose)

    assert [f"{request.method} {request.url.path}" for request in server.asked] == [
        example.request for example in EXAMPLES
    ]


async def test_statement_is_read_page_after_page_as_of_one_moment(server: Server, client: Client) -> None:
    first = {"from": None, "to": "T", "opening_minor": 1, "lines": [{"amount_minor": 2}], "closing_minor": 3}
    second = {**first, "opening_minor": 3, "lines": [{"amount_minor": 4}], "closing_minor": 7}
    server.will(ok({**first, "next_cursor": "c"}), ok({**second, "next_cursor": None}))

    statement = await client.sellers.statement(currency="USD")

    assert statement["lines"] == [{"amount_minor": 2}, {"amount_minor": 4}]
    assert (statement["opening_minor"], statement["closing_minor"], statement["next_cursor"]) == (1, 7, None)
    assert [dict(request.url.params) for request in server.asked] == [
        {"currency": "USD", "limit": "100"},
        {"currency": "USD", "limit": "100", "to": "T", "cursor": "c"},
    ]


async def test_statement_comes_as_a_file_for_a_spreadsheet(server: Server, client: Client) -> None:
    server.will(httpx.Response(200, content=b"at,kind\r\n"))

    assert await client.sellers.statement_csv(SINCE, currency="USD") == b"at,kind\r\n"

    assert server.headers("Accept") == ["text/csv"]
    assert dict(server.asked[0].url.params) == {"from": SINCE, "currency": "USD"}


async def test_events_of_a_payment_are_a_list(server: Server, client: Client) -> None:
    accepted, succeeded = ({"type": f"payment.{fact}"} for fact in ("accepted", "succeeded"))
    server.will(ok({"data": [accepted], "next_cursor": "n"}), ok({"data": [succeeded], "next_cursor": None}))

    assert await client.payments.events("p") == [accepted, succeeded]

    assert [dict(request.url.params) for request in server.asked] == [{}, {"cursor": "n"}]


ANSWERS = {
    models.User: "UserAnswer",
    models.ApiKey: "ApiKeyAnswer",
    models.NewApiKey: "NewApiKeyAnswer",
    models.RefundedLine: "RefundLineAnswer",
    models.Dispute: "DisputeAnswer",
    models.Seller: "SellerAnswer",
    models.Balance: "SellerBalanceAnswer",
    models.Payout: "PayoutAnswer",
    models.Statement: "SellerStatementAnswer",
    models.StatementLine: "StatementLineAnswer",
    models.WebhookEndpoint: "WebhookEndpointAnswer",
    models.NewWebhookEndpoint: "WebhookEndpointWithSecret",
    models.Attempt: "AttemptAnswer",
    models.Delivery: "DeliveryAnswer",
    models.Redelivery: "RedeliveryAnswer",
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

    hints = get_type_hints(model)
    assert set(hints) == set(properties)
    for field_name, hint in hints.items():
        if literal := literals(hint):
            assert literal == enumerated(properties[field_name], described), field_name


def test_every_type_is_compared_with_the_servers() -> None:
    types = {each for each in vars(models).values() if is_typeddict(each)}

    assert types == set(ANSWERS)


def literals(hint: Any) -> set[str]:
    """The words that a hint allows, besides None."""
    parts = [hint, *get_args(hint)]
    return {word for part in parts if get_origin(part) is Literal for word in get_args(part)}


def enumerated(described: Any, schemas: Any) -> set[str]:
    """The words that a schema allows, besides null."""
    references = [part["$ref"] for part in (described, *described.get("anyOf", [])) if "$ref" in part]
    return {word for each in references for word in schemas[each.rpartition("/")[2]]["enum"]}


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


def test_synchronous_face_closes_what_is_left(server: Server) -> None:
    bodies = [Body(f'retry: 1\nid: 1\n\nid: 2\ndata: {{"id": "e{n}"}}\n\n', stays=True) for n in range(3)]
    server.will(*map(streaming, bodies))
    http = httpx.AsyncClient(transport=httpx.MockTransport(server.answer), base_url="http://api.test")
    market = SyncClient("http://api.test", http=http)
    for body in bodies[:2]:
        for event in market.events():
            assert event["id"] == f"e{bodies.index(body)}"
            break
        assert body.is_closed
    following = market.events()
    next(following)

    market.run(http.aclose)
    market.close()

    following.close()  # type: ignore[attr-defined]  # a generator, which may outlive its client
