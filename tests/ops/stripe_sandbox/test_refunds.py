import pytest
import stripe


async def test_refund_takes_all_that_is_left_and_keeps_the_fee(sandbox, client, pay):
    intent = await pay(amount=1000)

    first = await client.v1.refunds.create_async(
        params={"charge": intent.latest_charge, "amount": 300, "reason": "duplicate", "metadata": {"id": "r"}}
    )
    rest = await client.v1.refunds.create_async(
        params={"payment_intent": intent.id, "expand": ["balance_transaction", "charge"]}
    )

    assert first.id.startswith("re_")
    assert (first.amount, first.status, first.reason, first.metadata["id"]) == (300, "succeeded", "duplicate", "r")
    assert first.payment_intent == intent.id
    assert (rest.amount, rest.charge.refunded, rest.charge.amount_refunded) == (700, True, 1000)
    transaction = rest.balance_transaction
    assert (transaction.amount, transaction.fee, transaction.net) == (-700, 0, -700)
    assert (transaction.type, transaction.source) == ("refund", rest.id)
    found = await client.v1.refunds.retrieve_async(first.id)
    assert found.amount == 300


async def test_refund_above_what_is_left_is_refused(sandbox, client, pay):
    intent = await pay(amount=1000)
    await client.v1.refunds.create_async(params={"payment_intent": intent.id, "amount": 600})

    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.refunds.create_async(params={"payment_intent": intent.id, "amount": 401})

    assert (caught.value.http_status, caught.value.code, caught.value.param) == (400, "amount_too_large", "amount")


async def test_refunded_charge_cannot_be_refunded_again(sandbox, client, pay):
    intent = await pay()
    await client.v1.refunds.create_async(params={"payment_intent": intent.id})

    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.refunds.create_async(params={"payment_intent": intent.id})

    assert (caught.value.http_status, caught.value.code) == (400, "charge_already_refunded")


async def test_partly_captured_charge_refunds_what_was_captured(sandbox, client, pay):
    intent = await pay(amount=1000, capture_method="manual")
    await client.v1.payment_intents.capture_async(intent.id, params={"amount_to_capture": 600})

    refund = await client.v1.refunds.create_async(params={"payment_intent": intent.id})

    assert refund.amount == 600


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({}, 400, "parameter_missing"),
        ({"charge": "ch_absent"}, 404, "resource_missing"),
        ({"payment_intent": "pi_absent"}, 404, "resource_missing"),
        ({"charge": "ch_1", "payment_intent": "pi_1"}, 400, None),
        ({"charge": "ch_1", "colour": "red"}, 400, "parameter_unknown"),
    ],
)
async def test_wrong_refunds_are_refused(sandbox, client, params, status, code):
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.refunds.create_async(params=params)

    assert (caught.value.http_status, caught.value.code) == (status, code)


@pytest.mark.parametrize(
    "changes",
    [{"capture_method": "manual"}, {"confirm": False}, {"payment_method": "pm_card_authenticationRequired"}],
)
async def test_intent_without_captured_money_cannot_be_refunded(sandbox, client, pay, changes):
    intent = await pay(**changes)

    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.refunds.create_async(params={"payment_intent": intent.id})

    assert caught.value.code == "charge_not_refundable"


async def test_refund_is_made_once_per_key(sandbox, client, pay):
    intent = await pay(amount=1000)
    params = {"payment_intent": intent.id, "amount": 400}

    first, again = [
        await client.v1.refunds.create_async(params=params, options={"idempotency_key": "refund-1"})
        for _ in range(2)
    ]

    assert first.id == again.id
    assert len((await sandbox.state())["refunds"]) == 1


async def test_refunds_are_listed_by_intent(sandbox, client, pay):
    intents = [await pay(), await pay()]
    for intent in intents:
        await client.v1.refunds.create_async(params={"payment_intent": intent.id})

    listed = await client.v1.refunds.list_async(params={"payment_intent": intents[0].id})

    assert [refund.payment_intent for refund in listed.data] == [intents[0].id]


async def _move(sandbox, refund_id, status):
    return await sandbox.call("POST", f"/_sandbox/refunds/{refund_id}", json={"status": status})


async def test_refund_that_fails_later_brings_the_money_back(sandbox, client, pay, receiver, wait_until):
    intent = await pay(amount=1000)
    refund = await client.v1.refunds.create_async(params={"payment_intent": intent.id, "amount": 300})

    status, failed = await _move(sandbox, refund.id, "failed")

    assert (status, failed["status"], failed["failure_reason"]) == (200, "failed", "expired_or_canceled_card")
    transaction = await client.v1.balance_transactions.retrieve_async(failed["failure_balance_transaction"])
    assert (transaction.type, transaction.reporting_category) == ("refund_failure", "refund_failure")
    assert (transaction.net, transaction.source) == (300, refund.id)
    charge = await client.v1.charges.retrieve_async(intent.latest_charge)
    assert (charge.amount_refunded, charge.refunded) == (0, False)
    await wait_until(lambda: receiver.events("refund.failed"))
    again = await client.v1.refunds.create_async(params={"payment_intent": intent.id})
    assert again.amount == 1000


async def test_failed_refund_is_over(sandbox, client, pay):
    intent = await pay()
    refund = await client.v1.refunds.create_async(params={"payment_intent": intent.id})
    await _move(sandbox, refund.id, "failed")

    assert (await _move(sandbox, refund.id, "succeeded"))[0] == 409
    assert (await _move(sandbox, refund.id, "lost"))[0] == 422
    assert (await _move(sandbox, "re_absent", "failed"))[0] == 404


@pytest.mark.parametrize(
    ("payment_method", "first", "last"),
    [("pm_card_pendingRefund", "pending", "succeeded"), ("pm_card_refundFail", "succeeded", "failed")],
)
async def test_cards_whose_refunds_take_time(
    sandbox, client, pay, receiver, wait_until, payment_method, first, last
):
    intent = await pay(payment_method=payment_method)

    refund = await client.v1.refunds.create_async(params={"payment_intent": intent.id})

    assert refund.status == first
    (event,) = await wait_until(lambda: receiver.events("refund.updated"))
    assert event["data"]["object"]["status"] == last
    assert event["data"]["previous_attributes"] == {"status": first}
    assert len(receiver.events("refund.failed")) == (1 if last == "failed" else 0)
