"""What the programs of the stack write down: lines for programs, and nobody's secret."""

import json
import re
from collections.abc import Mapping

import pytest

from ops.stack import Stack
from ops.stack.layout import Layout
from tests.e2e.market import PASSWORD, Caller, Json, Market, new_key
from tests.eventually import eventually
from tests.otlp import Collector, Span

OURS = re.compile(r"(api|workers|deliveries|beat)\b.*")


def texts(layout: Layout) -> Mapping[str, str]:
    return {log.name: log.read_text(errors="replace") for log in layout.logs.iterdir() if log.is_file()}


@pytest.fixture
async def secrets(stack: Stack, market: Market, buyer: Caller, order: Json) -> Mapping[str, str]:
    """What must not be written down, after each of them was used, rightly and wrongly."""
    info, client = stack.info, market.http
    payment = await market.become(
        buyer, await market.pay(buyer, order, payment_method="pm_card_authenticationRequired"), "requires_action"
    )
    login = {"email": info.users["finance"].email, "password": info.users["finance"].password}
    tokens = (await client.post("/v1/tokens", json=login)).json()
    await client.post("/v1/tokens", json={**login, "password": "a wrong password"})
    for bearer in (tokens["access_token"] + "x", tokens["refresh_token"]):
        await client.get("/v1/payments", headers={"Authorization": f"Bearer {bearer}"})
    key = (await buyer.post("/v1/api-keys", {"name": "of the logs", "scopes": ["payments:read"]})).json()
    url = {"url": f"{info.stripe}/nothing", "events": ["payment.*"]}
    endpoint = (await buyer.post("/v1/webhook-endpoints", url)).json()
    await client.post("/v1/webhooks/stripe", content=b"{}", headers={"Stripe-Signature": "t=1,v1=00ff00ff00ff"})
    await market.sandbox.authenticate(payment, succeed=True)
    await market.become(buyer, payment, "succeeded")
    await buyer.client.request("DELETE", f"/v1/webhook-endpoints/{endpoint['id']}")
    environment = stack.plan.environment
    return {
        "a password": PASSWORD,
        "the seeded password": info.users["finance"].password,
        "an e-mail address": info.users["finance"].email,
        "a wrong password": "a wrong password",
        "an access token": tokens["access_token"],
        "a refresh token": tokens["refresh_token"],
        "an API key": key["key"],
        "the secret of an endpoint": endpoint["secret"],
        "Stripe's key": info.stripe_api_key,
        "a secret of Stripe's webhooks": info.stripe_webhook_secret,
        "a client secret": payment["client_secret"],
        "a signature": "00ff00ff00ff",
        "Flower's password": info.flower_password,
        "what signs tokens": environment["MARKETFLOW_JWT_SECRET"],
        "what encrypts": environment["MARKETFLOW_ENCRYPTION_KEYS"],
    }


async def test_no_secret_is_written_down(stack: Stack, secrets: Mapping[str, str]) -> None:
    assert all(secrets.values())
    await eventually(lambda: any("audit_sealed" in text for text in texts(stack.layout).values()))

    for log, text in texts(stack.layout).items():
        assert [name for name, secret in secrets.items() if secret in text] == [], log


async def test_our_programs_write_json(stack: Stack) -> None:
    written = [text for log, text in texts(stack.layout).items() if OURS.fullmatch(log)]
    lines = [line for text in written for line in text.splitlines() if line.startswith("{")]

    assert lines
    for line in lines:
        assert {"event", "level", "timestamp"} <= set(json.loads(line))


def line_of_a_worker(stack: Stack, **ids: str) -> Json:
    """Return the first line that the workers wrote with these ids, if there is one."""
    written = [text for log, text in texts(stack.layout).items() if log.startswith("workers")]
    lines = [json.loads(line) for text in written for line in text.splitlines() if line.startswith("{")]
    return next((each for each in lines if ids.items() <= each.items()), {})


async def test_line_of_a_worker_bears_the_ids_of_the_request_its_payment_and_its_trace(
    stack: Stack, market: Market, collector: Collector, buyer: Caller, order: Json
) -> None:
    await market.sandbox.order_fault("drop_before", count=1)
    answer = await market.ask_to_pay(buyer, order)
    payment = await market.become(buyer, answer.json(), "succeeded")
    request_id = answer.headers["X-Request-Id"]

    def told() -> Json:
        return line_of_a_worker(stack, payment_id=payment["id"])

    def asked() -> Span | None:
        spans = collector.named("POST /v1/payments")
        return next((span for span in spans if span.attributes["marketflow.request_id"] == request_id), None)

    line, request = await eventually(told), await eventually(asked)
    assert (line["event"], line["call"]) == ("stripe_call_failed", "POST /v1/payment_intents")
    assert (line["request_id"], line["trace_id"]) == (request_id, request.trace_id)


async def test_line_about_a_refund_bears_the_ids_of_the_payment_and_of_the_request_that_asked_for_it(
    stack: Stack, market: Market, buyer: Caller, order: Json
) -> None:
    payment = await market.become(buyer, await market.pay(buyer, order), "succeeded")
    await market.sandbox.order_fault("drop_before", "POST /v1/refunds", count=1)

    answer = await buyer.post(f"/v1/payments/{payment['id']}/refunds", {"reason": "too small"}, key=new_key())

    refund_id = answer.json()["id"]
    line = await eventually(lambda: line_of_a_worker(stack, refund_id=refund_id))
    assert (line["event"], line["call"]) == ("stripe_call_failed", "POST /v1/refunds")
    assert (line["payment_id"], line["request_id"]) == (payment["id"], answer.headers["X-Request-Id"])
