"""Disputes on the whole stack; after each test our books say to the cent what Stripe says."""

import pytest

from tests.e2e.market import Caller, Json, Market, Sandbox, new_key
from tests.eventually import eventually


@pytest.fixture
async def payment(market: Market, buyer: Caller, order: Json) -> Json:
    """An order of 19.99 USD that is paid."""
    return await market.become(buyer, await market.pay(buyer, order), "succeeded")


async def dispute_becomes(caller: Caller, payment: Json, status: str) -> Json:
    """Wait until the payment has a dispute in that state, and nothing else of it to come."""

    async def look() -> Json:
        found = (await caller.get("/v1/disputes?limit=100")).json()["data"]
        disputes = [each for each in found if each["payment_id"] == payment["id"]]
        assert [each["status"] for each in disputes] == [status]
        return disputes[0]

    return await eventually(look)


async def order_becomes(market: Market, buyer: Caller, order: Json, status: str) -> None:
    async def look() -> bool:
        return await market.order_status(buyer, order) == status

    await eventually(look)


@pytest.mark.parametrize(
    ("end", "order_ends", "kinds"),
    [
        ("won", "paid", ["dispute_opened", "dispute_fee", "dispute_won"]),
        ("lost", "refunded", ["dispute_opened", "dispute_fee"]),
    ],
)
async def test_dispute_to_its_end(
    market: Market,
    sandbox: Sandbox,
    buyer: Caller,
    seller: Caller,
    order: Json,
    payment: Json,
    end: str,
    order_ends: str,
    kinds: list[str],
) -> None:
    await sandbox.dispute(payment, "needs_response")
    opened = await dispute_becomes(seller, payment, "needs_response")
    assert opened["evidence_due_at"]
    await order_becomes(market, buyer, order, "disputed")
    refusal = await buyer.post(f"/v1/payments/{payment['id']}/refunds", {"reason": "x"}, key=new_key())
    assert refusal.status_code == 409

    await sandbox.dispute(payment, end)

    await dispute_becomes(seller, payment, end)
    await order_becomes(market, buyer, order, order_ends)
    await market.booked(payment, "charge", "stripe_fee", *kinds)


async def test_webhooks_of_a_dispute_may_come_doubled_and_in_disorder(
    market: Market, sandbox: Sandbox, buyer: Caller, seller: Caller, order: Json, payment: Json
) -> None:
    await sandbox.order_fault("webhook_duplicate", "charge.dispute.*")
    await sandbox.order_fault("webhook_reorder", "charge.dispute.*")

    for status in ("needs_response", "under_review", "won"):
        await sandbox.dispute(payment, status)

    await dispute_becomes(seller, payment, "won")
    await order_becomes(market, buyer, order, "paid")


async def test_inquiry_moves_nothing_and_can_be_refunded(
    market: Market, sandbox: Sandbox, buyer: Caller, seller: Caller, order: Json, payment: Json
) -> None:
    await sandbox.dispute(payment, "warning_needs_response")
    await dispute_becomes(seller, payment, "warning_needs_response")
    assert await market.order_status(buyer, order) == "paid"

    answer = await buyer.post(f"/v1/payments/{payment['id']}/refunds", {"reason": "x"}, key=new_key())

    assert answer.status_code == 202
    await order_becomes(market, buyer, order, "refunded")


async def test_card_that_is_disputed_at_once(market: Market, buyer: Caller, seller: Caller, order: Json) -> None:
    payment = await market.pay(buyer, order, payment_method="pm_card_createDispute")

    await dispute_becomes(seller, payment, "needs_response")

    await order_becomes(market, buyer, order, "disputed")
    await market.booked(payment, "charge", "stripe_fee", "dispute_opened", "dispute_fee")


async def test_disputes_are_shown_to_finance_and_to_their_sellers(
    market: Market, sandbox: Sandbox, buyer: Caller, seller: Caller, payment: Json
) -> None:
    await sandbox.dispute(payment, "needs_response")
    dispute = await dispute_becomes(seller, payment, "needs_response")
    finance, stranger = await market.log_in("finance"), await market.register("seller")
    path = f"/v1/disputes/{dispute['id']}"

    assert (await finance.get(path)).json() == (await seller.get(path)).json()
    assert [(await who.get(path)).status_code for who in (stranger, buyer)] == [404, 403]
    listed = (await finance.get("/v1/disputes?status=needs_response&limit=100")).json()["data"]
    assert dispute["id"] in {each["id"] for each in listed}
