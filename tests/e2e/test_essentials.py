"""What must hold before anything else is worth a look."""

import hashlib
import hmac
import json
import time
from uuid import uuid4

import httpx

from tests.e2e.market import Caller, Json, Market, Sandbox, new_key
from tests.eventually import eventually


def signed(body: bytes, secret: str) -> dict[str, str]:
    timestamp = int(time.time())
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={timestamp},v1={digest}", "Content-Type": "application/json"}


def an_event() -> bytes:
    return json.dumps({"id": f"evt_{uuid4().hex}", "type": "plan.created", "data": {"object": {}}}).encode()


async def test_create_payment_success(market: Market, buyer: Caller, order: Json) -> None:
    answer = await market.ask_to_pay(buyer, order)

    payment = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/payments/{payment['id']}"
    assert (payment["order_id"], payment["amount_minor"], payment["currency"]) == (order["id"], 1999, "USD")
    await market.become(buyer, payment, "succeeded")
    assert await market.order_status(buyer, order) == "paid"
    await market.booked(payment, "charge", "stripe_fee")


async def test_idempotency_same_key_returns_same_payment(market: Market, buyer: Caller, order: Json) -> None:
    key = new_key()
    first = await market.ask_to_pay(buyer, order, key=key)
    await market.become(buyer, first.json(), "succeeded")

    again = await market.ask_to_pay(buyer, order, key=f'"{key}"')

    assert (again.status_code, again.headers["Location"]) == (202, first.headers["Location"])
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json()["id"] == first.json()["id"]
    assert again.json()["status"] == "succeeded"


async def test_idempotency_different_keys_create_different_payments(
    market: Market, buyer: Caller, product: Json
) -> None:
    orders = [await market.order(buyer, product) for _ in range(2)]

    one, other = [await market.pay(buyer, order, key=new_key()) for order in orders]

    assert one["id"] != other["id"]
    assert len(await market.sandbox.charges(await market.become(buyer, one, "succeeded"))) == 1
    assert len(await market.sandbox.charges(await market.become(buyer, other, "succeeded"))) == 1


async def test_webhook_signature_valid(market: Market) -> None:
    body = an_event()

    answer = await market.http.post(
        "/v1/webhooks/stripe", content=body, headers=signed(body, market.info.stripe_webhook_secret)
    )

    assert (answer.status_code, answer.json()) == (200, {"received": True})


async def test_webhook_signature_invalid(market: Market) -> None:
    body = an_event()
    good = signed(body, market.info.stripe_webhook_secret)

    async def post(content: bytes, headers: dict[str, str]) -> httpx.Response:
        return await market.http.post("/v1/webhooks/stripe", content=content, headers=headers)

    for answer in (await post(body, signed(body, "whsec_of_a_stranger")), await post(body + b" ", good)):
        assert (answer.status_code, answer.json()["code"]) == (400, "signature_invalid")


async def test_webhook_payment_succeeded_updates_status(
    market: Market, sandbox: Sandbox, buyer: Caller, order: Json
) -> None:
    payment = await market.pay(buyer, order, payment_method="pm_card_authenticationRequired")
    await market.become(buyer, payment, "requires_action")

    # Nothing asks Stripe again for minutes: only its webhook can tell of this.
    await sandbox.authenticate(payment, succeed=True)

    await market.become(buyer, payment, "succeeded")
    assert await market.order_status(buyer, order) == "paid"


async def test_get_payment_by_id(market: Market, buyer: Caller, order: Json) -> None:
    payment = await market.pay(buyer, order)

    async def settled() -> Json:
        answer = await buyer.get(f"/v1/payments/{payment['id']}", Prefer="wait=20")
        assert answer.status_code == 200, answer.text
        assert answer.headers["Preference-Applied"] == "wait=20"
        assert answer.json()["status"] == "succeeded", answer.text
        return dict(answer.json())

    found = await eventually(settled)
    changed = {"status": "succeeded", "captured_minor": payment["amount_minor"], "updated_at": found["updated_at"]}
    assert {**payment, **changed} == found


async def test_health_check(market: Market) -> None:
    live = await market.http.get("/health/live")
    assert (live.status_code, live.json()["status"]) == (200, "ok")

    async def is_ready() -> bool:
        """A part that answers late is told of as one that is away."""
        ready = await market.http.get("/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "ok"), ready.text
        return bool(ready.json()["checks"] == {"database": "ok", "redis": "ok", "broker": "ok"})

    assert await eventually(is_ready)
