import aiohttp
import pytest
import stripe

SEVEN_DAYS_S = 7 * 24 * 3600


async def test_confirmed_intent_succeeds_with_its_charge_and_fee(sandbox, pay):
    intent = await pay(
        metadata={"payment_id": "p-1"},
        transfer_group="order-1",
        expand=["latest_charge.balance_transaction"],
    )

    charge = intent.latest_charge
    assert (intent.status, intent.amount_received, intent.livemode) == ("succeeded", 1999, False)
    assert intent.id.startswith("pi_")
    assert intent.client_secret.startswith(f"{intent.id}_secret_")
    assert intent.metadata["payment_id"] == "p-1"
    assert (charge.paid, charge.captured, charge.amount_captured) == (True, True, 1999)
    assert charge.transfer_group == "order-1"
    assert charge.metadata["payment_id"] == "p-1"
    transaction = charge.balance_transaction
    assert (transaction.fee, transaction.net, transaction.reporting_category) == (88, 1911, "charge")
    assert transaction.source == charge.id
    assert [detail.type for detail in transaction.fee_details] == ["stripe_fee"]


async def test_unexpanded_references_are_ids(sandbox, pay):
    intent = await pay()

    assert intent.latest_charge.startswith("ch_")


@pytest.mark.parametrize(
    ("payment_method", "decline_code"),
    [
        ("pm_card_chargeDeclined", "generic_decline"),
        ("pm_card_visa_chargeDeclined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds"),
    ],
)
async def test_declined_card_answers_402_with_the_failed_charge(client, pay, payment_method, decline_code):
    with pytest.raises(stripe.CardError) as caught:
        await pay(payment_method=payment_method)

    error = caught.value.error
    assert caught.value.http_status == 402
    assert (error.type, error.code, error.decline_code) == ("card_error", "card_declined", decline_code)
    assert error.payment_intent.status == "requires_payment_method"
    assert error.payment_intent.last_payment_error.decline_code == decline_code
    charge = await client.v1.charges.retrieve_async(error.charge)
    assert (charge.status, charge.paid, charge.failure_code) == ("failed", False, "card_declined")
    assert charge.balance_transaction is None
    assert charge.outcome.type == "issuer_declined"


async def test_declined_intent_can_be_confirmed_with_another_card(sandbox, client, pay):
    with pytest.raises(stripe.CardError) as caught:
        await pay(payment_method="pm_card_chargeDeclined")

    again = await client.v1.payment_intents.confirm_async(
        caught.value.error.payment_intent.id, params={"payment_method": "pm_card_visa"}
    )

    assert (again.status, again.last_payment_error) == ("succeeded", None)


async def test_step_by_step_intent_needs_a_payment_method_and_a_confirmation(sandbox, client):
    intents = client.v1.payment_intents
    intent = await intents.create_async(
        params={"amount": 500, "currency": "EUR", "payment_method_types": ["card"]}
    )
    assert (intent.status, intent.currency) == ("requires_payment_method", "eur")

    with pytest.raises(stripe.InvalidRequestError) as caught:
        await intents.confirm_async(intent.id)
    assert caught.value.code == "payment_intent_unexpected_state"

    updated = await intents.update_async(intent.id, params={"payment_method": "pm_card_visa", "amount": 600})
    assert (updated.status, updated.amount) == ("requires_confirmation", 600)

    confirmed = await intents.confirm_async(intent.id)
    assert (confirmed.status, confirmed.amount_received) == ("succeeded", 600)


async def test_manual_capture_takes_a_part_and_releases_the_rest(sandbox, client, pay):
    intent = await pay(capture_method="manual", amount=1000, expand=["latest_charge"])
    assert (intent.status, intent.amount_capturable, intent.amount_received) == ("requires_capture", 1000, 0)
    assert (intent.latest_charge.captured, intent.latest_charge.balance_transaction) == (False, None)

    captured = await client.v1.payment_intents.capture_async(
        intent.id,
        params={"amount_to_capture": 600, "expand": ["latest_charge.balance_transaction"]},
    )

    assert (captured.status, captured.amount_received, captured.amount_capturable) == ("succeeded", 600, 0)
    charge = captured.latest_charge
    assert (charge.captured, charge.amount_captured, charge.amount_refunded) == (True, 600, 400)
    assert (charge.balance_transaction.amount, charge.balance_transaction.fee) == (600, 47)
    assert await _released(client, intent) == [(400, "succeeded", None, None)]


async def test_capture_above_the_authorization_is_refused(sandbox, client, pay):
    intent = await pay(capture_method="manual", amount=1000)

    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.payment_intents.capture_async(intent.id, params={"amount_to_capture": 1001})

    assert (caught.value.code, caught.value.param) == ("amount_too_large", "amount_to_capture")
    assert caught.value.error.payment_intent.status == "requires_capture"


async def test_capture_of_a_succeeded_intent_is_an_unexpected_state(sandbox, client, pay):
    intent = await pay()

    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.payment_intents.capture_async(intent.id)

    assert caught.value.http_status == 400
    assert caught.value.code == "payment_intent_unexpected_state"
    assert caught.value.error.payment_intent.id == intent.id


async def test_cancel_releases_the_authorization(sandbox, client, pay):
    intent = await pay(capture_method="manual")

    canceled = await client.v1.payment_intents.cancel_async(
        intent.id, params={"cancellation_reason": "abandoned", "expand": ["latest_charge"]}
    )

    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    assert canceled.canceled_at is not None
    assert canceled.amount_capturable == 0
    assert (canceled.latest_charge.captured, canceled.latest_charge.refunded) == (False, True)
    assert await _released(client, intent) == [(intent.amount, "succeeded", None, None)]


@pytest.mark.parametrize("action", ["cancel_async", "confirm_async", "capture_async"])
async def test_canceled_intent_takes_no_further_action(sandbox, client, pay, action):
    intent = await pay(capture_method="manual")
    await client.v1.payment_intents.cancel_async(intent.id)

    with pytest.raises(stripe.InvalidRequestError) as caught:
        await getattr(client.v1.payment_intents, action)(intent.id)

    assert caught.value.code == "payment_intent_unexpected_state"
    assert caught.value.error.payment_intent.status == "canceled"


async def test_succeeded_intent_cannot_be_canceled(sandbox, client, pay):
    intent = await pay()

    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.payment_intents.cancel_async(intent.id)

    assert caught.value.code == "payment_intent_unexpected_state"


async def test_metadata_is_merged_and_unset(sandbox, client, pay):
    intent = await pay(metadata={"a": "1", "b": "2"})

    merged = await client.v1.payment_intents.update_async(intent.id, params={"metadata": {"b": "", "c": "3"}})
    emptied = await client.v1.payment_intents.update_async(intent.id, params={"metadata": ""})

    assert merged.metadata.to_dict() == {"a": "1", "c": "3"}
    assert emptied.metadata.to_dict() == {}


async def test_values_survive_the_form_encoding(sandbox, client, pay):
    odd = 'a b+c&d=e%20[f] ü € 日本 \U0001f4b8 "q" \\'

    intent = await pay(metadata={"odd key": odd}, description=odd)

    found = await client.v1.payment_intents.retrieve_async(intent.id)
    assert (found.metadata["odd key"], found.description) == (odd, odd)


@pytest.mark.parametrize("manual", [False, True])
async def test_authentication_that_succeeds_completes_the_payment(sandbox, client, pay, manual):
    intent = await pay(
        payment_method="pm_card_authenticationRequired", capture_method="manual" if manual else "automatic"
    )
    assert (intent.status, intent.next_action.type) == ("requires_action", "use_stripe_sdk")
    assert intent.client_secret
    assert intent.latest_charge is None

    status, _ = await sandbox.call(
        "POST", f"/_sandbox/payment_intents/{intent.id}/authentication", json={"succeed": True}
    )

    assert status == 200
    done = await client.v1.payment_intents.retrieve_async(intent.id)
    assert done.status == ("requires_capture" if manual else "succeeded")
    assert done.next_action is None


async def test_authentication_that_fails_asks_for_another_payment_method(sandbox, client, pay):
    intent = await pay(
        payment_method="pm_card_visa_authenticationRequired", return_url="https://shop.example/back"
    )
    assert intent.next_action.redirect_to_url.return_url == "https://shop.example/back"

    await sandbox.call("POST", f"/_sandbox/payment_intents/{intent.id}/authentication", json={"succeed": False})

    failed = await client.v1.payment_intents.retrieve_async(intent.id)
    assert failed.status == "requires_payment_method"
    assert failed.last_payment_error.code == "payment_intent_authentication_failure"


@pytest.mark.parametrize("asked", [{"off_session": True}, {"error_on_requires_action": True}])
async def test_authentication_without_a_customer_is_a_decline(sandbox, pay, asked):
    with pytest.raises(stripe.CardError) as caught:
        await pay(payment_method="pm_card_authenticationRequired", **asked)

    assert caught.value.code == "authentication_required"


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"amount": None}, "parameter_missing", "amount"),
        ({"currency": None}, "parameter_missing", "currency"),
        ({"currency": ""}, "parameter_invalid_empty", "currency"),
        ({"currency": "xyz"}, None, "currency"),
        ({"currency": {"a": "usd"}}, None, "currency"),
        ({"amount": "12.5"}, "parameter_invalid_integer", "amount"),
        ({"amount": "abc"}, "parameter_invalid_integer", "amount"),
        ({"amount": 0}, "parameter_invalid_integer", "amount"),
        ({"amount": -5}, "parameter_invalid_integer", "amount"),
        ({"amount": 49}, "amount_too_small", "amount"),
        ({"amount": 100_000_000}, "amount_too_large", "amount"),
        ({"amount": 49, "currency": "jpy"}, "amount_too_small", "amount"),
        ({"amount": 12345, "currency": "kwd"}, "parameter_invalid_integer", "amount"),
        ({"colour": "red"}, "parameter_unknown", "colour"),
        ({"payment_method": "pm_card_unheardOf"}, "resource_missing", "payment_method"),
        ({"payment_method": None}, "payment_intent_unexpected_state", None),
        ({"payment_method_types": ["cash"]}, None, "payment_method_types"),
        ({"payment_method_types": None}, None, None),
        ({"automatic_payment_methods": {"enabled": True}}, None, None),
        ({"capture_method": "someday"}, None, "capture_method"),
        ({"confirm": "maybe"}, None, "confirm"),
        ({"metadata": {"k" * 41: "v"}}, None, "metadata"),
        ({"metadata": {"k": "v" * 501}}, None, "metadata[k]"),
        ({"metadata": {f"k{i}": "v" for i in range(51)}}, None, "metadata"),
        ({"expand": ["latest_charge.nonsense"]}, "property_cannot_be_expanded", "expand"),
    ],
)
async def test_wrong_parameters_are_refused_as_stripe_does(sandbox, pay, changes, code, param):
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await pay(**changes)

    assert caught.value.http_status == 400
    assert caught.value.error.type == "invalid_request_error"
    assert (caught.value.code, caught.value.param) == (code, param)


@pytest.mark.parametrize(
    ("amount", "currency"), [(50, "usd"), (99_999_999, "usd"), (500, "jpy"), (12340, "kwd"), (30, "gbp")]
)
async def test_right_amounts_are_charged(sandbox, pay, amount, currency):
    assert (await pay(amount=amount, currency=currency)).amount_received == amount


async def test_refused_request_leaves_nothing_behind(sandbox, pay):
    with pytest.raises(stripe.InvalidRequestError):
        await pay(expand=["nonsense"], amount=1)

    state = await sandbox.state()
    assert (state["payment_intents"], state["charges"], state["events"]) == ([], [], 0)


async def test_unknown_ids_are_404(sandbox, client):
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.payment_intents.retrieve_async("pi_absent")

    assert (caught.value.http_status, caught.value.code) == (404, "resource_missing")


@pytest.mark.parametrize("key", ["nonsense", "sk_live_1", "pk_test_1"])
async def test_wrong_api_key_is_401(sandbox, key):
    with pytest.raises(stripe.AuthenticationError) as caught:
        await sandbox.stripe_with(key).v1.balance.retrieve_async()

    assert caught.value.http_status == 401


async def test_absent_api_key_is_401(sandbox):
    status, body = await sandbox.call("GET", "/v1/balance")

    assert (status, body["error"]["type"]) == (401, "invalid_request_error")


async def test_api_key_may_come_as_basic_authentication(sandbox):
    headers = {"Authorization": aiohttp.encode_basic_auth("sk_test_1", "")}

    status, _ = await sandbox.call("GET", "/v1/balance", headers=headers)

    assert status == 200


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/nonsense"), ("DELETE", "/v1/payment_intents/pi_1")])
async def test_unknown_urls_and_methods_get_stripes_404(sandbox, method, path):
    headers = {"Authorization": "Bearer sk_test_1"}

    status, body = await sandbox.call(method, path, headers=headers)

    assert status == 404
    assert body["error"]["message"].startswith(f"Unrecognized request URL ({method}: {path})")


async def test_answers_carry_stripes_headers(sandbox, pay):
    intent = await pay("key-1")

    headers = intent.last_response.headers
    assert headers["Request-Id"].startswith("req_")
    assert headers["Stripe-Version"] == stripe.api_version
    assert headers["Idempotency-Key"] == "key-1"


async def test_authorization_expires_after_seven_days(sandbox, client, pay, receiver, wait_until):
    intent = await pay(capture_method="manual", expand=["latest_charge"])
    card = intent.latest_charge.payment_method_details.card
    assert card.capture_before - intent.latest_charge.created == SEVEN_DAYS_S

    await sandbox.set_clock(SEVEN_DAYS_S - 60)
    assert (await client.v1.payment_intents.retrieve_async(intent.id)).status == "requires_capture"
    await sandbox.set_clock(SEVEN_DAYS_S + 60)

    expired = await client.v1.payment_intents.retrieve_async(intent.id, params={"expand": ["latest_charge"]})
    assert (expired.status, expired.cancellation_reason) == ("canceled", "automatic")
    assert (expired.latest_charge.captured, expired.latest_charge.refunded) == (False, True)
    assert await _released(client, intent) == [(intent.amount, "succeeded", "expired_uncaptured_charge", None)]
    await wait_until(lambda: receiver.events("charge.expired") and receiver.events("payment_intent.canceled"))


async def test_captured_authorization_does_not_expire(sandbox, client, pay):
    intent = await pay(capture_method="manual")
    await client.v1.payment_intents.capture_async(intent.id, params={"amount_to_capture": 600})

    await sandbox.set_clock(SEVEN_DAYS_S + 60)

    assert (await client.v1.payment_intents.retrieve_async(intent.id)).status == "succeeded"


async def test_card_can_skip_the_pending_balance(sandbox, client, pay):
    await pay(payment_method="pm_card_bypassPending", amount=1000)

    balance = await client.v1.balance.retrieve_async()

    assert [(each.amount, each.currency) for each in balance.available] == [(941, "usd")]


async def test_release_of_an_authorization_cannot_fail(sandbox, client, pay):
    intent = await pay(capture_method="manual")
    await client.v1.payment_intents.cancel_async(intent.id)
    state = await sandbox.state()
    (refund,) = state["releases"]
    assert state["refunds"] == []

    status, _ = await sandbox.call("POST", f"/_sandbox/refunds/{refund['id']}", json={"status": "failed"})

    assert status == 409


async def _released(client, intent):
    """Return what Stripe lists of the refunds of an intent: how much, how it stands, why, and its movement."""
    refunds = await client.v1.refunds.list_async(params={"payment_intent": intent.id})
    return [(each.amount, each.status, each.reason, each.balance_transaction) for each in refunds.data]
