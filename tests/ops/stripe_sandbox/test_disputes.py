import pytest
import stripe


async def _dispute(sandbox, charge, status):
    code, body = await sandbox.call("POST", "/_sandbox/disputes", json={"charge": charge, "status": status})
    assert code == 200, body
    return body


def _types(receiver):
    return {event["type"] for event in receiver.events() if event["type"].startswith("charge.dispute.")}


async def test_disputed_card_pays_and_is_disputed_soon(sandbox, client, pay, receiver, wait_until):
    intent = await pay(amount=5000, payment_method="pm_card_createDispute")
    assert intent.status == "succeeded"

    (event,) = await wait_until(lambda: receiver.events("charge.dispute.funds_withdrawn"))

    assert receiver.events("charge.dispute.created")
    dispute = await client.v1.disputes.retrieve_async(event["data"]["object"]["id"])
    assert dispute.id.startswith("dp_")
    assert (dispute.amount, dispute.charge, dispute.status) == (5000, intent.latest_charge, "needs_response")
    (transaction,) = dispute.balance_transactions
    assert (transaction.amount, transaction.fee, transaction.net) == (-5000, 1500, -6500)
    assert (transaction.type, transaction.reporting_category) == ("adjustment", "dispute")
    assert (await client.v1.charges.retrieve_async(intent.latest_charge)).disputed is True


async def test_won_dispute_reinstates_the_funds(sandbox, client, pay, receiver, wait_until):
    intent = await pay(amount=5000)
    await _dispute(sandbox, intent.latest_charge, "needs_response")

    won = await _dispute(sandbox, intent.latest_charge, "won")

    assert [each["net"] for each in won["balance_transactions"]] == [-6500, 5000]
    expected = {"created", "funds_withdrawn", "funds_reinstated", "closed"}
    await wait_until(lambda: _types(receiver) == {f"charge.dispute.{word}" for word in expected})
    listed = await client.v1.disputes.list_async(params={"payment_intent": intent.id})
    assert [each.status for each in listed.data] == ["won"]


async def test_lost_dispute_is_over(sandbox, pay):
    intent = await pay()
    await _dispute(sandbox, intent.latest_charge, "lost")

    code, _ = await sandbox.call(
        "POST", "/_sandbox/disputes", json={"charge": intent.latest_charge, "status": "won"}
    )

    assert code == 409


async def test_inquiry_moves_no_money_and_can_be_refunded(sandbox, client, pay):
    intent = await pay()

    inquiry = await _dispute(sandbox, intent.latest_charge, "warning_needs_response")

    assert inquiry["balance_transactions"] == []
    refund = await client.v1.refunds.create_async(params={"payment_intent": intent.id, "amount": 100})
    assert refund.status == "succeeded"


async def test_charge_whose_money_is_withdrawn_cannot_be_refunded(sandbox, client, pay):
    intent = await pay()
    await _dispute(sandbox, intent.latest_charge, "needs_response")

    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.refunds.create_async(params={"payment_intent": intent.id})

    assert caught.value.code == "charge_disputed"


async def test_escalated_inquiry_withdraws_the_funds(sandbox, pay, receiver, wait_until):
    intent = await pay(amount=5000)
    await _dispute(sandbox, intent.latest_charge, "warning_needs_response")

    dispute = await _dispute(sandbox, intent.latest_charge, "needs_response")

    assert [each["net"] for each in dispute["balance_transactions"]] == [-6500]
    expected = {"created", "funds_withdrawn", "updated"}
    await wait_until(lambda: _types(receiver) == {f"charge.dispute.{word}" for word in expected})


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"charge": "ch_absent"}, 404),
        ({"charge": 5}, 422),
        ({}, 422),
        ({"charge": "ch_1", "status": "unsure"}, 422),
        ({"charge": "ch_1", "status": ["won"]}, 422),
        ({"charge": "ch_1", "colour": "red"}, 422),
    ],
)
async def test_senseless_disputes_are_refused(sandbox, body, expected):
    status, _ = await sandbox.call("POST", "/_sandbox/disputes", json=body)

    assert status == expected


async def test_failed_charge_cannot_be_disputed(sandbox, pay):
    with pytest.raises(stripe.CardError) as caught:
        await pay(payment_method="pm_card_chargeDeclined")

    status, _ = await sandbox.call("POST", "/_sandbox/disputes", json={"charge": caught.value.error.charge})

    assert status == 409
