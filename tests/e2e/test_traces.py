"""One payment can be followed from the request to its settlement, although it travelled in batches."""

from uuid import uuid4

import httpx

from tests.e2e.market import Caller, Json, Market, new_key
from tests.eventually import eventually
from tests.otlp import Collector, Span


def trace_of(collector: Collector, trace_id: str, *wanted: str) -> dict[str, Span]:
    found = {span.name: span for span in collector.of_trace(trace_id)}
    assert set(wanted) <= set(found), set(wanted) - set(found)
    return found


async def pay_within(trace_id: str, caller_id: str, market: Market, buyer: Caller, order: Json) -> httpx.Response:
    """Pay from within a span of the caller's."""
    answer = await market.http.post(
        "/v1/payments",
        json={"order_id": order["id"], "payment_method": "pm_card_visa"},
        headers={
            "Authorization": f"Bearer {buyer.token}",
            "Idempotency-Key": new_key(),
            "traceparent": f"00-{trace_id}-{caller_id}-01",
        },
    )
    assert answer.status_code == 202, answer.text
    return answer


async def test_payment_is_followed_from_its_request_through_message_stripe_and_settlement(
    market: Market, collector: Collector, buyer: Caller, order: Json
) -> None:
    trace_id, caller_id = uuid4().hex, uuid4().hex[:16]
    answer = await pay_within(trace_id, caller_id, market, buyer, order)
    payment = answer.json()
    await market.become(buyer, payment, "succeeded")

    names = ("POST /v1/payments", "accept", "payment charge", "POST /v1/payment_intents", "settle")
    spans = await eventually(lambda: trace_of(collector, trace_id, *names))

    request, accept, charge, call, settle = (spans[name] for name in names)
    assert request.parent_id == caller_id
    assert request.attributes["marketflow.request_id"] == answer.headers["X-Request-Id"]
    assert accept.parent_id == charge.parent_id == request.id
    assert call.parent_id == settle.parent_id == charge.id
    assert charge.attributes["payment.id"] == payment["id"]
    assert [span.service for span in (request, charge)] == ["marketflow-api", "marketflow-worker"]

    # The batches have traces of their own, and are linked with the payment's spans in both directions.
    for part, name in ((accept, "accept batch"), (settle, "settle batch")):
        batch = await eventually(
            lambda part=part, name=name: next(
                (span for span in collector.named(name) if part.id in span.links), None
            )
        )
        assert batch.id in part.links
        inside = await eventually(
            lambda batch=batch: [span for span in collector.of_trace(batch.trace_id) if span.parent_id == batch.id]
        )
        assert [span.name for span in inside] == ["transaction"]
    # The message that brought the payment to the worker.
    task = await eventually(
        lambda: next((span for span in collector.named("run/marketflow.charges") if span.id in charge.links), None)
    )
    published = await eventually(
        lambda: next(
            (span for span in collector.named("publish marketflow.charges") if span.id == task.parent_id), None
        )
    )
    assert published.service == "marketflow-api"


async def test_refund_is_followed_from_its_own_request_to_stripe_and_the_books(
    market: Market, collector: Collector, buyer: Caller, order: Json
) -> None:
    payment = await market.become(buyer, await market.pay(buyer, order), "succeeded")
    trace_id = uuid4().hex
    answer = await market.http.post(
        f"/v1/payments/{payment['id']}/refunds",
        json={"reason": "too small"},
        headers={
            "Authorization": f"Bearer {buyer.token}",
            "Idempotency-Key": new_key(),
            "traceparent": f"00-{trace_id}-{uuid4().hex[:16]}-01",
        },
    )
    assert answer.status_code == 202, answer.text

    def sent() -> tuple[Span, Span]:
        """The work that asked Stripe; a webhook that tells the same is work of its own."""
        spans = trace_of(collector, trace_id, "POST /v1/payments/{payment_id:uuid}/refunds", "POST /v1/refunds")
        by_id = {span.id: span for span in collector.of_trace(trace_id)}
        refund = by_id.get(spans["POST /v1/refunds"].parent_id)
        assert refund is not None
        return spans["POST /v1/payments/{payment_id:uuid}/refunds"], refund

    request, refund = await eventually(sent)

    assert (refund.name, refund.service, refund.parent_id) == ("refund", "marketflow-worker", request.id)
    assert refund.attributes["refund.id"] == answer.json()["id"]
    assert refund.attributes["payment.id"] == payment["id"]
    assert "transaction" in [span.name for span in collector.of_trace(trace_id) if span.parent_id == refund.id]
    task = await eventually(
        lambda: next((span for span in collector.named("run/marketflow.refunds") if span.id in refund.links), None)
    )
    assert task.trace_id != trace_id


async def test_payment_is_followed_to_the_webhooks_that_tell_of_it(
    market: Market, collector: Collector, buyer: Caller, order: Json
) -> None:
    # Nobody listens there: an attempt that fails is a span all the same, and tells no path.
    endpoint = (await buyer.post("/v1/webhook-endpoints", {"url": "http://127.0.0.1:9/a-secret-path"})).json()
    trace_id = uuid4().hex
    await pay_within(trace_id, uuid4().hex[:16], market, buyer, order)

    def sent() -> dict[str, Span]:
        spans = collector.of_trace(trace_id)
        found = {span.attributes["event.type"]: span for span in spans if span.name == "webhook delivery"}
        assert {"payment.accepted", "payment.succeeded", "order.paid"} <= set(found)
        return found

    deliveries = await eventually(sent)

    spans = await eventually(lambda: trace_of(collector, trace_id, "POST /v1/payments"))
    request = spans["POST /v1/payments"]
    for delivery in deliveries.values():
        assert (delivery.parent_id, delivery.service) == (request.id, "marketflow-worker")
        assert delivery.attributes["webhook_endpoint.id"] == endpoint["id"]
        assert delivery.links
        (call,) = await eventually(
            lambda delivery=delivery: [span for span in collector.spans if span.parent_id == delivery.id]
        )
        assert (call.name, call.is_error) == ("POST webhook", True)
        assert (call.attributes["server.address"], call.attributes["error.type"]) == (
            "127.0.0.1",
            "connection_failed",
        )
    assert b"a-secret-path" not in collector.raw
    await buyer.client.request("DELETE", f"/v1/webhook-endpoints/{endpoint['id']}")


async def test_caller_decides_whether_its_request_is_traced(
    market: Market, collector: Collector, buyer: Caller
) -> None:
    trace_id = uuid4().hex
    headers = {"Authorization": f"Bearer {buyer.token}", "traceparent": f"00-{trace_id}-{uuid4().hex[:16]}-00"}

    assert (await market.http.get("/v1/payments", headers=headers)).status_code == 200
    sampled_id = uuid4().hex
    await buyer.get("/v1/payments", traceparent=f"00-{sampled_id}-{uuid4().hex[:16]}-01")

    await eventually(lambda: collector.of_trace(sampled_id))
    assert not collector.of_trace(trace_id)


async def test_no_span_bears_a_secret(market: Market, collector: Collector, buyer: Caller) -> None:
    await eventually(lambda: collector.spans)

    for secret in (buyer.token, market.info.stripe_api_key, "_secret_", "a long enough password"):
        assert secret.encode() not in collector.raw
