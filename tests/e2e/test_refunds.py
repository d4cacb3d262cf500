"""Money that goes back, on the whole stack; after each test our books say to the cent what Stripe says."""

import asyncio
from typing import Any

import pytest

from tests.e2e.market import Caller, Json, Market, Sandbox, new_key
from tests.eventually import eventually


@pytest.fixture
async def payment(market: Market, buyer: Caller, order: Json) -> Json:
    """An order of 19.99 USD that is paid, its fee booked."""
    paid = await market.become(buyer, await market.pay(buyer, order), "succeeded")
    await market.booked(paid, "charge", "stripe_fee")
    return paid


async def refund(caller: Caller, payment: Json, *, key: str | None = None, **body: Any) -> Json:
    path = f"/v1/payments/{payment['id']}/refunds"
    answer = await caller.post(path, {"reason": "requested_by_customer", **body}, key=key or new_key())
    assert answer.status_code == 202, answer.text
    return answer.json()


async def refund_becomes(caller: Caller, found: Json, status: str) -> Json:
    async def look() -> Json:
        now: Json = (await caller.get(f"/v1/refunds/{found['id']}")).json()
        assert now["status"] == status, now
        return now

    return await eventually(look)


async def test_refunds_in_parts_return_the_shares_and_the_commission(
    market: Market, sandbox: Sandbox, buyer: Caller, seller: Caller, order: Json, payment: Json
) -> None:
    first = await refund(buyer, payment, amount_minor=1000)
    await refund_becomes(buyer, first, "succeeded")
    assert await market.order_status(buyer, order) == "paid"

    rest = await refund(seller, payment)
    await refund_becomes(buyer, rest, "succeeded")

    assert [found["amount"] for found in await sandbox.refunds(payment)] == [1000, 999]
    refunds = [j for j in await market.journals(payment) if j["kind"] == "refund"]
    assert [_legs(journal) for journal in refunds] == [
        {f"seller_payable:{seller.id}": 975, "commission_revenue": 25, "stripe_balance": -1000},
        {f"seller_payable:{seller.id}": 974, "commission_revenue": 25, "stripe_balance": -999},
    ]

    async def refunded() -> bool:
        return await market.order_status(buyer, order) == "refunded"

    await eventually(refunded)


async def test_many_requests_with_one_key_are_one_refund(
    market: Market, sandbox: Sandbox, buyer: Caller, payment: Json
) -> None:
    key = new_key()

    found = await asyncio.gather(*(refund(buyer, payment, key=key, amount_minor=10) for _ in range(20)))

    assert len({each["id"] for each in found}) == 1
    await refund_becomes(buyer, found[0], "succeeded")
    assert len(await sandbox.refunds(payment)) == 1


@pytest.mark.parametrize("effect", ["drop_before", "drop_after", "error_500", "error_500_after", "error_429"])
async def test_refund_whose_answer_is_lost_is_made_once(
    market: Market, sandbox: Sandbox, buyer: Caller, payment: Json, effect: str
) -> None:
    await sandbox.order_fault(effect, "POST /v1/refunds", count=1)

    found = await refund(buyer, payment)

    await refund_becomes(buyer, found, "succeeded")
    assert len(await sandbox.refunds(payment)) == 1


async def test_refund_from_the_dashboard_is_booked(
    market: Market, sandbox: Sandbox, buyer: Caller, order: Json, payment: Json
) -> None:
    await sandbox.refund_behind_our_back(payment, 500)

    async def booked() -> bool:
        assert [j["kind"] for j in await market.journals(payment)].count("refund") == 1
        return (await buyer.get(f"/v1/payments/{payment['id']}")).json()["refunded_minor"] == 500

    await eventually(booked)
    await refund_becomes(buyer, await refund(buyer, payment), "succeeded")


async def test_refund_that_a_bank_sends_back_is_undone(
    market: Market, sandbox: Sandbox, buyer: Caller, order: Json, payment: Json
) -> None:
    found = await refund_becomes(buyer, await refund(buyer, payment), "succeeded")

    await sandbox.fail_refund(payment)

    failed = await refund_becomes(buyer, found, "failed")
    assert failed["failure_code"]
    assert await market.order_status(buyer, order) == "paid"
    kinds = sorted(journal["kind"] for journal in await market.journals(payment))
    assert kinds == ["charge", "refund", "refund_failed", "stripe_fee"]
    assert (await buyer.get(f"/v1/payments/{payment['id']}")).json()["refunded_minor"] == 0


async def test_refund_that_failed_unheard_is_booked_after_the_one_that_took_its_room(
    market: Market, sandbox: Sandbox, buyer: Caller, payment: Json
) -> None:
    """Both come from the dashboard; no webhook tells of the first one before the second is there."""
    await sandbox.order_fault("webhook_drop", "*")
    await sandbox.refund_behind_our_back(payment, 1999)
    await sandbox.fail_refund(payment)
    await sandbox.end_faults()

    await sandbox.refund_behind_our_back(payment, 1999)

    async def booked() -> bool:
        kinds = sorted(journal["kind"] for journal in await market.journals(payment))
        assert kinds == ["charge", "refund", "refund", "refund_failed", "stripe_fee"]
        return (await buyer.get(f"/v1/payments/{payment['id']}")).json()["refunded_minor"] == 1999

    await eventually(booked)


def _legs(journal: Json) -> dict[str, int]:
    """The entries of a journal by account, debits positive."""
    return {
        entry["account"]: (entry["debit_minor"] or 0) - (entry["credit_minor"] or 0)
        for entry in journal["entries"]
    }
