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


@pytest.mark.parametrize(
    ("payment_method", "status", "reason", "withdrawn"),
    [
        ("pm_card_createDisputeInquiry", "warning_needs_response", "fraudulent", 0),
        ("pm_card_createDisputeProductNotReceived", "needs_response", "product_not_received", 1),
    ],
)
async def test_each_disputed_card_has_its_kind_of_dispute(
    sandbox, client, pay, wait_until, payment_method, status, reason, withdrawn
):
    intent = await pay(payment_method=payment_method)

    async def disputes():
        return (await client.v1.disputes.list_async(params={"charge": intent.latest_charge})).data

    (dispute,) = await wait_until(disputes)
    assert (dispute.status, dispute.reason, len(dispute.balance_transactions)) == (status, reason, withdrawn)


@pytest.mark.parametrize(
    ("opened", "decided"), [("needs_response", "lost"), ("warning_needs_response", "warning_closed")]
)
async def test_dispute_that_nobody_answers_is_decided_at_its_deadline(sandbox, client, pay, opened, decided):
    intent = await pay()
    dispute = await _dispute(sandbox, intent.latest_charge, opened)
    days = dispute["evidence_details"]["due_by"] - dispute["created"]

    await sandbox.set_clock(days + 60)

    found = await client.v1.disputes.retrieve_async(dispute["id"])
    assert (found.status, found.evidence_details.past_due) == (decided, True)


@pytest.mark.parametrize(
    ("words", "status"),
    [("winning_evidence", "won"), ("losing_evidence", "lost"), ("a receipt", "under_review")],
)
async def test_evidence_decides_a_dispute(sandbox, client, pay, words, status):
    intent = await pay(amount=5000)
    dispute = await _dispute(sandbox, intent.latest_charge, "needs_response")

    kept = await client.v1.disputes.update_async(
        dispute["id"], params={"evidence": {"uncategorized_text": words}, "submit": False}
    )
    decided = await client.v1.disputes.update_async(dispute["id"], params={"submit": True})

    assert (kept.status, kept.evidence_details.has_evidence) == ("needs_response", True)
    assert (decided.status, decided.evidence_details.submission_count) == (status, 1)
    assert decided.evidence.uncategorized_text == words


async def test_accepted_dispute_is_lost(sandbox, client, pay, receiver, wait_until):
    intent = await pay()
    dispute = await _dispute(sandbox, intent.latest_charge, "needs_response")

    closed = await client.v1.disputes.close_async(dispute["id"])

    assert closed.status == "lost"
    await wait_until(lambda: receiver.events("charge.dispute.closed"))
    for act in (client.v1.disputes.close_async, client.v1.disputes.update_async):
        with pytest.raises(stripe.InvalidRequestError):
            await act(dispute["id"])
