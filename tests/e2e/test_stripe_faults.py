"""Stripe's bad days: whatever goes wrong, the payer is charged once and the books say so."""

import pytest

from tests.e2e.market import Caller, Json, Market, Sandbox
from tests.eventually import eventually


@pytest.mark.parametrize("effect", ["drop_after", "drop_before", "error_429", "error_500_after", "delay_ms:5500"])
async def test_fault_of_a_charge_ends_in_one_charge(
    market: Market, sandbox: Sandbox, buyer: Caller, order: Json, effect: str
) -> None:
    await sandbox.order_fault(effect, count=1)

    payment = await market.become(buyer, await market.pay(buyer, order), "succeeded")

    assert len(await sandbox.intents(payment)) == 1
    assert len(await sandbox.charges(payment)) == 1
    assert await market.order_status(buyer, order) == "paid"


async def test_payment_is_found_when_only_the_webhook_and_every_answer_are_lost(
    market: Market, sandbox: Sandbox, buyer: Caller, order: Json
) -> None:
    await sandbox.order_fault("webhook_drop", "*")
    await sandbox.order_fault("error_500_after", count=1)

    payment = await market.become(buyer, await market.pay(buyer, order), "succeeded")

    assert len(await sandbox.charges(payment)) == 1


async def test_recorded_error_fails_the_payment_and_frees_the_order(
    market: Market, sandbox: Sandbox, buyer: Caller, order: Json
) -> None:
    await sandbox.order_fault("error_500", count=1)

    failed = await market.become(buyer, await market.pay(buyer, order), "failed")

    assert failed["failure_code"] == "charge_not_made"
    assert await sandbox.intents(failed) == []
    await market.become(buyer, await market.pay(buyer, order), "succeeded")


async def test_unsure_payment_is_unknown_and_not_failed(
    market: Market, sandbox: Sandbox, buyer: Caller, order: Json
) -> None:
    await sandbox.order_fault("drop_before")
    payment = await market.pay(buyer, order)
    await market.become(buyer, payment, "unknown")
    refused = await market.ask_to_pay(buyer, order)
    assert refused.json()["code"] == "payment_in_progress"

    await sandbox.end_faults()

    await market.become(buyer, payment, "succeeded")


async def test_work_waits_in_its_rows_while_stripe_is_down_and_the_api_is_untouched(
    market: Market, sandbox: Sandbox, buyer: Caller, product: Json
) -> None:
    await sandbox.order_fault("drop_before")
    first = [await market.pay(buyer, await market.order(buyer, product)) for _ in range(6)]
    await eventually(lambda: _breaker_is(market, "open"))

    later = [await market.pay(buyer, await market.order(buyer, product)) for _ in range(6)]

    await sandbox.end_faults()
    for payment in [*first, *later]:
        await market.become(buyer, payment, "succeeded")
        assert len(await sandbox.charges(payment)) == 1
    await eventually(lambda: _breaker_is(market, "closed"))


async def test_lost_webhooks_do_not_matter_to_a_charge(
    market: Market, sandbox: Sandbox, buyer: Caller, order: Json
) -> None:
    await sandbox.order_fault("webhook_drop", "*")

    payment = await market.become(buyer, await market.pay(buyer, order), "succeeded")

    await market.booked(payment, "charge", "stripe_fee")


async def test_webhook_five_times_and_before_the_answer_changes_nothing(
    market: Market, sandbox: Sandbox, buyer: Caller, order: Json
) -> None:
    # The charge is made and its answer lost, so that the webhook is first; the same news then comes again.
    await sandbox.order_fault("drop_after", count=2)
    await sandbox.order_fault("webhook_duplicate", "*")
    payment = await market.become(buyer, await market.pay(buyer, order), "succeeded")
    (event,) = await sandbox.events(payment, "payment_intent.succeeded")
    before = await market.booked(payment, "charge", "stripe_fee")

    for _ in range(4):
        await sandbox.redeliver(event)

    async def all_are_delivered() -> bool:
        (again,) = await sandbox.events(payment, "payment_intent.succeeded")
        return bool(again["pending_webhooks"] == 0)

    await eventually(all_are_delivered)
    later = await market.become(
        buyer, await market.pay(buyer, await market.order(buyer, *_same(order))), "succeeded"
    )
    assert later["id"] != payment["id"]
    assert await market.booked(payment, "charge", "stripe_fee") == before
    assert len(await sandbox.charges(payment)) == 1


@pytest.mark.parametrize("effect", ["webhook_reorder", "webhook_delay_ms:300"])
async def test_disordered_webhooks_end_in_the_same_state(
    market: Market, sandbox: Sandbox, buyer: Caller, order: Json, effect: str
) -> None:
    await sandbox.order_fault(effect, "*")
    payment = await market.pay(buyer, order, payment_method="pm_card_authenticationRequired")
    await market.become(buyer, payment, "requires_action")

    await sandbox.authenticate(payment, succeed=True)

    await market.become(buyer, payment, "succeeded")
    assert len(await sandbox.charges(payment)) == 1


async def test_late_success_pays_an_order_that_still_waits(
    market: Market, sandbox: Sandbox, buyer: Caller, order: Json
) -> None:
    given_up = await market.given_up(buyer, order)

    await sandbox.charge_behind_our_back(given_up)

    found = await market.become(buyer, given_up, "succeeded")
    assert found["failure_code"] is None
    assert await market.order_status(buyer, order) == "paid"


async def test_late_success_of_a_paid_order_is_booked_and_sent_back(
    market: Market, sandbox: Sandbox, buyer: Caller, order: Json
) -> None:
    given_up = await market.given_up(buyer, order)
    await market.become(buyer, await market.pay(buyer, order), "succeeded")

    await sandbox.charge_behind_our_back(given_up)
    await market.booked(given_up, "unapplied_charge", "stripe_fee", "unapplied_refund")
    assert [refund["amount"] for refund in await sandbox.refunds(given_up)] == [1999]
    await market.become(buyer, given_up, "failed")


async def _breaker_is(market: Market, state: str) -> bool:
    page = (await market.http.get("/metrics")).text
    return f'marketflow_stripe_breaker_state{{state="{state}"}} 1.0' in page


def _same(order: Json) -> list[Json]:
    return [{"id": item["product_id"]} for item in order["items"]]
