"""Authorizations and authentications, on the whole stack."""

from tests.e2e.market import Caller, Json, Market, Sandbox, new_key
from tests.eventually import eventually


async def act(caller: Caller, payment: Json, noun: str, body: Json | None = None) -> Json:
    answer = await caller.post(f"/v1/payments/{payment['id']}/{noun}", body or {})
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/v1/payments/{payment['id']}"
    return answer.json()


async def authorized(market: Market, buyer: Caller, order: Json, **changes: str) -> Json:
    payment = await market.pay(buyer, order, capture="manual", **changes)
    return await market.become(buyer, payment, "requires_capture")


async def test_whole_capture_pays_the_order(
    market: Market, sandbox: Sandbox, buyer: Caller, seller: Caller, order: Json
) -> None:
    payment = await authorized(market, buyer, order)
    assert await market.journals(payment) == []

    for _ in range(2):
        await act(seller, payment, "capture")

    done = await market.become(buyer, payment, "succeeded")
    assert (done["captured_minor"], await market.order_status(buyer, order)) == (1999, "paid")
    assert len(await sandbox.charges(payment)) == 1
    assert (await act(seller, payment, "capture"))["status"] == "succeeded"


async def test_partial_capture_pays_the_order_and_releases_the_rest(
    market: Market, sandbox: Sandbox, buyer: Caller, seller: Caller, order: Json
) -> None:
    payment = await authorized(market, buyer, order)

    await act(seller, payment, "capture", {"amount_minor": 1000})

    done = await market.become(buyer, payment, "succeeded")
    assert (done["captured_minor"], await market.order_status(buyer, order)) == (1000, "paid")
    (charge,) = await sandbox.charges(payment)
    assert (charge["amount_captured"], charge["amount_refunded"]) == (1000, 999)
    charged, _ = await market.booked(payment, "charge", "stripe_fee")
    assert {entry["account"]: entry["credit_minor"] for entry in charged["entries"][1:]} == {
        f"seller_payable:{seller.id}": 975,
        "commission_revenue": 25,
    }


async def test_refund_in_the_dashboard_after_a_partial_capture_is_booked_without_what_was_released(
    market: Market, sandbox: Sandbox, buyer: Caller, seller: Caller, order: Json
) -> None:
    payment = await authorized(market, buyer, order)
    await act(seller, payment, "capture", {"amount_minor": 1200})
    await market.become(buyer, payment, "succeeded")

    await sandbox.refund_behind_our_back(payment, 100)

    _, refund, _ = await market.booked(payment, "charge", "refund", "stripe_fee")
    assert sum(entry["credit_minor"] or 0 for entry in refund["entries"]) == 100
    assert [each["amount"] for each in await sandbox.refunds(payment)] == [100]
    assert (await market.become(buyer, payment, "succeeded"))["refunded_minor"] == 100


async def test_capture_whose_answer_is_lost_is_made_once(
    market: Market, sandbox: Sandbox, buyer: Caller, seller: Caller, order: Json
) -> None:
    payment = await authorized(market, buyer, order)
    await sandbox.order_fault("drop_after", "POST /v1/payment_intents/", count=1)

    await act(seller, payment, "capture", {"amount_minor": 1500})

    assert (await market.become(buyer, payment, "succeeded"))["captured_minor"] == 1500


async def test_cancellation_releases_the_authorization(
    market: Market, sandbox: Sandbox, buyer: Caller, order: Json
) -> None:
    payment = await authorized(market, buyer, order)

    await act(buyer, payment, "cancellation")

    await market.become(buyer, payment, "canceled")
    assert [intent["status"] for intent in await sandbox.intents(payment)] == ["canceled"]
    assert await market.order_status(buyer, order) == "pending"
    await market.become(buyer, await market.pay(buyer, order), "succeeded")


async def test_buyer_cancels_instead_of_authenticating(
    market: Market, sandbox: Sandbox, buyer: Caller, order: Json
) -> None:
    payment = await market.pay(buyer, order, payment_method="pm_card_authenticationRequired")
    waiting = await market.become(buyer, payment, "requires_action")
    assert waiting["client_secret"]

    await act(buyer, payment, "cancellation")

    canceled = await market.become(buyer, payment, "canceled")
    assert canceled["client_secret"] is None
    assert [intent["status"] for intent in await sandbox.intents(payment)] == ["canceled"]


async def test_authenticated_payment_may_still_want_its_capture(
    market: Market, sandbox: Sandbox, buyer: Caller, seller: Caller, order: Json
) -> None:
    payment = await market.pay(buyer, order, capture="manual", payment_method="pm_card_authenticationRequired")
    await market.become(buyer, payment, "requires_action")

    await sandbox.authenticate(payment, succeed=True)

    reserved = await market.become(buyer, payment, "requires_capture")
    assert reserved["client_secret"] is None
    await act(seller, payment, "capture")
    await market.become(buyer, payment, "succeeded")


async def test_captured_payment_is_not_cancelled(market: Market, buyer: Caller, order: Json) -> None:
    payment = await market.become(buyer, await market.pay(buyer, order, key=new_key()), "succeeded")

    answer = await buyer.post(f"/v1/payments/{payment['id']}/cancellation", {})

    assert (answer.status_code, answer.json()["code"]) == (409, "payment_not_cancelable")


async def test_authorization_that_nobody_captures_expires_at_stripe(
    market: Market, sandbox: Sandbox, buyer: Caller, order: Json
) -> None:
    payment = await authorized(market, buyer, order)

    await sandbox.pass_time(8 * 24 * 3600)

    # Its first delivery bore the time of then, which is no good signature now.
    (expired,) = await sandbox.events(payment, "payment_intent.canceled")
    await sandbox.redeliver(expired)
    await market.become(buyer, payment, "canceled")
    assert await market.journals(payment) == []
    assert await market.order_status(buyer, order) == "pending"
    await market.become(buyer, await market.pay(buyer, order), "succeeded")


async def test_authorization_of_a_payment_that_was_given_up_is_released(
    market: Market, sandbox: Sandbox, buyer: Caller, order: Json
) -> None:
    given_up = await market.given_up(buyer, order, capture="manual")
    await market.become(buyer, await market.pay(buyer, order), "succeeded")

    await sandbox.charge_behind_our_back(given_up, capture_method="manual")

    async def released() -> bool:
        return [intent["status"] for intent in await sandbox.intents(given_up)] == ["canceled"]

    await eventually(released)
    failed = await market.become(buyer, given_up, "failed")
    assert (failed["failure_code"], await market.journals(given_up)) == ("charge_not_made", [])
    assert await market.order_status(buyer, order) == "paid"
