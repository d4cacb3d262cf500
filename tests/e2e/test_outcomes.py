"""What becomes of a payment when Stripe behaves."""

import pytest

from tests.e2e.market import Caller, Json, Market, Sandbox, new_key


@pytest.mark.parametrize(
    ("card", "failure_code"),
    [
        ("pm_card_chargeDeclined", "card_declined"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds"),
    ],
)
async def test_declined_payment_fails_with_its_intent_cancelled(
    market: Market, buyer: Caller, order: Json, card: str, failure_code: str
) -> None:
    payment = await market.pay(buyer, order, payment_method=card)

    failed = await market.become(buyer, payment, "failed")

    assert failed["failure_code"] == failure_code
    assert [intent["status"] for intent in await market.sandbox.intents(payment)] == ["canceled"]
    assert await market.order_status(buyer, order) == "pending"


async def test_order_can_be_paid_after_a_decline(market: Market, buyer: Caller, order: Json) -> None:
    declined = await market.pay(buyer, order, payment_method="pm_card_chargeDeclined")
    await market.become(buyer, declined, "failed")

    await market.become(buyer, await market.pay(buyer, order), "succeeded")

    assert await market.order_status(buyer, order) == "paid"


async def test_failed_authentication_fails_the_payment(
    market: Market, sandbox: Sandbox, buyer: Caller, order: Json
) -> None:
    payment = await market.pay(buyer, order, payment_method="pm_card_authenticationRequired")
    waiting = await market.become(buyer, payment, "requires_action")
    assert waiting["client_secret"].startswith("pi_")

    await sandbox.authenticate(payment, succeed=False)

    failed = await market.become(buyer, payment, "failed")
    assert (failed["failure_code"], failed["client_secret"]) == ("payment_intent_authentication_failure", None)
    assert [intent["status"] for intent in await sandbox.intents(payment)] == ["canceled"]


async def test_client_secret_is_for_the_payer_alone(
    market: Market, sandbox: Sandbox, buyer: Caller, order: Json
) -> None:
    payment = await market.pay(buyer, order, payment_method="pm_card_authenticationRequired")
    await market.become(buyer, payment, "requires_action")

    finance = await market.log_in("finance")

    assert (await finance.get(f"/v1/payments/{payment['id']}")).json()["client_secret"] is None
    await sandbox.authenticate(payment, succeed=True)
    await market.become(buyer, payment, "succeeded")


async def test_manual_capture_waits_for_the_capture(
    market: Market, sandbox: Sandbox, buyer: Caller, order: Json
) -> None:
    payment = await market.pay(buyer, order, capture="manual")
    await market.become(buyer, payment, "requires_capture")
    assert await market.journals(payment) == []

    await sandbox.capture(payment)

    await market.become(buyer, payment, "succeeded")
    assert await market.order_status(buyer, order) == "paid"


async def test_direct_payment_needs_no_order(market: Market, seller: Caller, buyer: Caller) -> None:
    body = {"seller_id": seller.id, "amount_minor": 1999, "currency": "USD", "payment_method": "pm_card_visa"}

    answer = await buyer.post("/v1/payments", body, key=new_key())

    assert answer.status_code == 202
    await market.become(buyer, answer.json(), "succeeded")
    await market.booked(answer.json(), "charge", "stripe_fee")


async def test_sellers_share_an_order_right_to_the_cent(market: Market, buyer: Caller) -> None:
    one, other = await market.register("seller"), await market.register("seller")
    order = await market.order(buyer, await market.product(one, 1999), await market.product(other, 501))

    payment = await market.become(buyer, await market.pay(buyer, order), "succeeded")

    charge, fee = await market.booked(payment, "charge", "stripe_fee")
    assert _legs(charge) == {
        "stripe_balance": 2500,
        f"seller_payable:{one.id}": -1949,  # 19.99 less 2.5 %, rounded half-even
        f"seller_payable:{other.id}": -488,
        "commission_revenue": -63,
    }
    assert _legs(fee) == {
        "stripe_balance": -103,  # 2.9 % and 30 cents of 25.00
        f"seller_payable:{one.id}": 82,
        f"seller_payable:{other.id}": 21,
    }


async def test_fee_that_comes_late_is_booked_late(
    market: Market, sandbox: Sandbox, buyer: Caller, product: Json
) -> None:
    payment, booked = {}, []
    for _ in range(10):
        await sandbox.order_fault("late_balance_transaction:700", count=1)
        payment = await market.pay(buyer, await market.order(buyer, product))
        await market.become(buyer, payment, "succeeded")
        booked = [journal["kind"] for journal in await market.journals(payment)]
        await market.booked(payment, "charge", "stripe_fee")
        if booked == ["charge"]:
            break  # else this machine was too slow to see it

    assert booked == ["charge"]


async def test_events_of_a_payment_tell_its_story(market: Market, buyer: Caller, order: Json) -> None:
    payment = await market.become(buyer, await market.pay(buyer, order), "succeeded")

    events = (await buyer.get(f"/v1/payments/{payment['id']}/events")).json()["data"]

    assert [event["type"] for event in events] == ["payment.accepted", "payment.succeeded"]


def _legs(journal: Json) -> dict[str, int]:
    """The entries of a journal by account, debits positive."""
    return {
        entry["account"]: (entry["debit_minor"] or 0) - (entry["credit_minor"] or 0)
        for entry in journal["entries"]
    }
