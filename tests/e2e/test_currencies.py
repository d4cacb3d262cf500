"""Currencies with 0, 2 and 3 decimals, and one that Stripe settles in another, on the whole stack."""

from collections.abc import AsyncIterator

import pytest

from tests.e2e.market import Caller, Json, Market, Sandbox, new_key
from tests.eventually import eventually


async def pay(buyer: Caller, seller: Caller, amount_minor: int, currency: str) -> Json:
    body = {"seller_id": seller.id, "amount_minor": amount_minor, "currency": currency}
    answer = await buyer.post("/v1/payments", {**body, "payment_method": "pm_card_visa"}, key=new_key())
    assert answer.status_code == 202, answer.text
    return answer.json()


async def refund(caller: Caller, payment: Json, amount_minor: int | None = None) -> Json:
    body = {"reason": "x"} if amount_minor is None else {"reason": "x", "amount_minor": amount_minor}
    answer = await caller.post(f"/v1/payments/{payment['id']}/refunds", body, key=new_key())
    assert answer.status_code == 202, answer.text

    async def look() -> Json:
        found: Json = (await caller.get(f"/v1/refunds/{answer.json()['id']}")).json()
        assert found["status"] == "succeeded", found
        return found

    return await eventually(look)


@pytest.mark.parametrize(
    ("currency", "amount_minor"), [("USD", 1999), ("EUR", 1999), ("JPY", 1500), ("KWD", 12_340)]
)
async def test_payment_and_refund_in_each_currency(
    market: Market, buyer: Caller, seller: Caller, currency: str, amount_minor: int
) -> None:
    payment = await market.become(buyer, await pay(buyer, seller, amount_minor, currency), "succeeded")

    await refund(seller, payment, 500)
    await refund(seller, payment)

    journals = await market.journals(payment)
    assert {entry["currency"] for journal in journals for entry in journal["entries"]} == {currency}


async def test_dinars_end_in_zero(market: Market, buyer: Caller, seller: Caller) -> None:
    body = {"seller_id": seller.id, "amount_minor": 12_345, "currency": "KWD", "payment_method": "pm_card_visa"}

    answer = await buyer.post("/v1/payments", body, key=new_key())

    assert (answer.status_code, answer.json()["code"]) == (422, "amount_not_chargeable")


async def test_amount_below_stripes_least_fails_the_payment(market: Market, buyer: Caller, seller: Caller) -> None:
    failed = await market.become(buyer, await pay(buyer, seller, 1, "USD"), "failed")

    assert failed["failure_code"] == "amount_too_small"


@pytest.fixture
async def euros_become_dollars(sandbox: Sandbox) -> AsyncIterator[None]:
    await sandbox.settle_in("eur", "usd", 1.1)
    yield
    await sandbox.settle_in("eur", None)


@pytest.mark.usefixtures("euros_become_dollars")
async def test_charge_that_is_settled_in_another_currency_is_booked_with_its_rate(
    market: Market, sandbox: Sandbox, buyer: Caller, seller: Caller
) -> None:
    payment = await market.become(buyer, await pay(buyer, seller, 2000, "EUR"), "succeeded")

    _, charged, settled, fee = await market.booked(
        payment, "charge", "conversion_charged", "conversion_settled", "stripe_fee"
    )

    assert charged["conversion"] == {
        "from_currency": "EUR",
        "from_minor": 2000,
        "to_currency": "USD",
        "to_minor": 2200,
        "exchange_rate": "1.1",
    }
    assert {entry["currency"] for journal in (settled, fee) for entry in journal["entries"]} == {"USD"}
    await sandbox.settle_in("eur", "usd", 1.2)
    await refund(seller, payment, 1000)
    await sandbox.dispute(payment, "needs_response")
    await sandbox.dispute(payment, "won")
    await market.check_books()
