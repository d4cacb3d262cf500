import asyncio
import hashlib
import hmac
import json
import time

import pytest
import stripe

SECRET = "whsec_of_the_tests"
CONFIRMED = ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]
THREE_DAYS_S = 3 * 24 * 3600
INTENT = (
    b"POST /v1/payment_intents HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk_test_1\r\n"
    b"Content-Length: 23\r\n\r\namount=500&currency=usd"
)


async def test_deliveries_are_signed_as_the_sdk_expects(sandbox, pay, receiver, wait_until):
    intent = await pay("key-of-the-call")

    await wait_until(lambda: len(receiver.deliveries) == 3)
    for delivery in receiver.deliveries:
        event = stripe.Webhook.construct_event(delivery.body, delivery.headers["Stripe-Signature"], SECRET)
        assert event.data.object.id in (intent.id, intent.latest_charge)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(delivery.body, delivery.headers["Stripe-Signature"], "whsec_other")


async def test_signature_is_an_hmac_of_time_and_body(sandbox, pay, receiver, wait_until):
    await pay()

    await wait_until(lambda: receiver.deliveries)
    delivery = receiver.deliveries[0]
    stamp, signature = (part.partition("=") for part in delivery.headers["Stripe-Signature"].split(","))
    signed = stamp[2].encode() + b"." + delivery.body
    expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert (stamp[0], signature[0], signature[2]) == ("t", "v1", expected)
    assert abs(int(stamp[2]) - time.time()) < 60


async def test_signature_is_of_now_while_the_clock_is_put_forward(sandbox, pay, receiver, wait_until):
    await sandbox.set_clock(2 * 86_400)
    await pay()

    await wait_until(lambda: receiver.deliveries)
    delivery = receiver.deliveries[0]
    stamp = delivery.headers["Stripe-Signature"].partition(",")[0].removeprefix("t=")
    assert delivery.event["created"] - int(stamp) > 86_400


async def test_event_has_stripes_envelope_and_the_object_as_it_was(sandbox, client, pay, receiver, wait_until):
    intent = await pay("key-of-the-call")

    await wait_until(lambda: len(receiver.events()) == 3)
    (created,) = receiver.events("payment_intent.created")
    (succeeded,) = receiver.events("payment_intent.succeeded")
    assert created["data"]["object"]["status"] == "requires_confirmation"
    assert succeeded["data"]["object"]["status"] == "succeeded"
    assert succeeded["data"]["object"]["id"] == intent.id
    assert succeeded["request"]["id"] == intent.last_response.headers["Request-Id"]
    assert succeeded["request"]["idempotency_key"] == "key-of-the-call"
    assert (succeeded["api_version"], succeeded["livemode"]) == (stripe.api_version, False)
    assert succeeded["pending_webhooks"] == 1

    async def acknowledged():
        return (await client.v1.events.retrieve_async(succeeded["id"])).pending_webhooks == 0

    await wait_until(acknowledged)


async def _expect(receiver, wait_until, *types):
    await wait_until(lambda: sorted(event["type"] for event in receiver.events()) == sorted(types))


async def test_events_of_a_decline(sandbox, pay, receiver, wait_until):
    with pytest.raises(stripe.CardError):
        await pay(payment_method="pm_card_chargeDeclined")

    await _expect(receiver, wait_until, "payment_intent.created", "charge.failed", "payment_intent.payment_failed")


async def test_events_of_a_manual_capture(sandbox, client, pay, receiver, wait_until):
    intent = await pay(capture_method="manual")
    authorized = ["payment_intent.created", "charge.succeeded", "payment_intent.amount_capturable_updated"]
    await _expect(receiver, wait_until, *authorized)

    await client.v1.payment_intents.capture_async(intent.id)

    await _expect(receiver, wait_until, *authorized, "charge.captured", "payment_intent.succeeded")


async def test_events_of_a_cancellation(sandbox, client, pay, receiver, wait_until):
    intent = await pay(confirm=False)

    await client.v1.payment_intents.cancel_async(intent.id)

    await _expect(receiver, wait_until, "payment_intent.created", "payment_intent.canceled")


@pytest.mark.parametrize(
    "outcome",
    [
        (True, ["charge.succeeded", "payment_intent.succeeded"]),
        (False, ["payment_intent.payment_failed"]),
    ],
)
async def test_events_of_an_authentication(sandbox, pay, receiver, wait_until, outcome):
    succeed, types = outcome
    intent = await pay(payment_method="pm_card_authenticationRequired")

    await sandbox.call("POST", f"/_sandbox/payment_intents/{intent.id}/authentication", json={"succeed": succeed})

    asked = ["payment_intent.created", "payment_intent.requires_action"]
    await _expect(receiver, wait_until, *asked, *types)


async def test_events_of_a_refund(sandbox, client, pay, receiver, wait_until):
    intent = await pay()

    refund = await client.v1.refunds.create_async(params={"payment_intent": intent.id})
    await client.v1.refunds.update_async(refund.id, params={"metadata": {"a": "1"}})

    await _expect(receiver, wait_until, *CONFIRMED, "refund.created", "charge.refunded", "refund.updated")


async def test_refused_delivery_is_retried_with_growing_pauses(sandbox, pay, receiver, wait_until):
    receiver.statuses = [500, 404, 301]
    await pay(confirm=False)

    await wait_until(lambda: receiver.events("payment_intent.created"))

    assert [delivery.status for delivery in receiver.deliveries] == [500, 404, 301, 200]
    assert len({delivery.event["id"] for delivery in receiver.deliveries}) == 1

    async def counted():
        webhooks = (await sandbox.state())["webhooks"]
        return webhooks == {"pending": 0, "delivered": 1, "failed_attempts": 3, "dropped": 0}

    await wait_until(counted)


async def test_delivery_is_given_up_after_three_days(sandbox, pay, receiver, wait_until):
    receiver.statuses = [500] * 1000
    await pay(confirm=False)
    await wait_until(lambda: receiver.deliveries)

    await sandbox.set_clock(THREE_DAYS_S + 60)

    async def given_up():
        return (await sandbox.state())["webhooks"]["pending"] == 0

    await wait_until(given_up)
    assert not receiver.events()


async def test_duplicate_fault_delivers_the_same_event_twice(sandbox, pay, receiver, wait_until):
    await sandbox.fault("payment_intent.succeeded", "webhook_duplicate")
    await pay()

    twice = await wait_until(lambda: len(got := receiver.events("payment_intent.succeeded")) == 2 and got)

    assert twice[0]["id"] == twice[1]["id"]


async def test_drop_fault_loses_the_delivery_but_not_the_event(sandbox, client, pay, receiver, wait_until):
    await sandbox.fault("payment_intent.succeeded", "webhook_drop")
    await pay()

    await wait_until(lambda: len(receiver.events()) == 2)

    assert not receiver.events("payment_intent.succeeded")
    webhooks = (await sandbox.state())["webhooks"]
    assert (webhooks["pending"], webhooks["dropped"]) == (0, 1)
    listed = await client.v1.events.list_async(params={"type": "payment_intent.succeeded"})
    assert len(listed.data) == 1


async def test_webhook_fault_can_name_the_call_that_causes_the_event(sandbox, client, pay, receiver, wait_until):
    await sandbox.fault("POST /v1/payment_intents", "webhook_drop")
    await sandbox.fault("* /v1/refunds", "webhook_duplicate")
    intent = await pay()

    refund = await client.v1.refunds.create_async(params={"payment_intent": intent.id})

    twice = await wait_until(lambda: len(got := receiver.events("refund.created")) == 2 and got)
    assert {event["data"]["object"]["id"] for event in twice} == {refund.id}
    assert not [event for event in receiver.events() if event["type"].startswith("payment_intent.")]
    faults = (await sandbox.call("GET", "/_sandbox/faults"))[1]["faults"]
    assert [fault["hits"] > 0 for fault in faults] == [True, True]


async def test_reorder_fault_delivers_the_newest_first(sandbox, receiver, wait_until):
    await sandbox.fault("*", "webhook_reorder")
    _, writer = await asyncio.open_connection("127.0.0.1", int(sandbox.url.rpartition(":")[2]))

    # In one piece, so that all three come within the moment for which events are held back.
    writer.write(3 * INTENT)

    await wait_until(lambda: len(receiver.deliveries) == 3)
    writer.close()
    # Several connections deliver at once, so that only the first and the last place are certain enough.
    order = [delivery.event["data"]["object"]["id"] for delivery in receiver.deliveries]
    assert order != [intent["id"] for intent in (await sandbox.state())["payment_intents"]]


async def test_delay_fault_delivers_late(sandbox, pay, receiver, wait_until):
    await sandbox.fault("charge.", "webhook_delay_ms:3600000")
    await pay()

    await wait_until(lambda: len(receiver.events()) == 2)
    assert not receiver.events("charge.succeeded")
    await sandbox.set_clock(3_590)
    assert not receiver.events("charge.succeeded")

    await sandbox.set_clock(3_601)
    await wait_until(lambda: receiver.events("charge.succeeded"))


async def test_event_can_be_delivered_again(sandbox, client, pay, receiver, wait_until):
    await pay(confirm=False)
    (event,) = await wait_until(receiver.events)

    status, _ = await sandbox.call("POST", f"/_sandbox/events/{event['id']}/redeliver")

    assert status == 202
    again = await wait_until(lambda: len(got := receiver.events()) == 2 and got)
    assert again[0]["id"] == again[1]["id"]
    assert (await sandbox.call("POST", "/_sandbox/events/evt_absent/redeliver"))[0] == 404


async def test_many_events_are_all_delivered_once(sandbox, pay, receiver, wait_until):
    await asyncio.gather(*(pay() for _ in range(100)))

    await wait_until(lambda: len(receiver.deliveries) == 300)

    assert len({delivery.event["id"] for delivery in receiver.deliveries}) == 300


async def test_only_enabled_events_are_delivered(run_sandbox, receiver, wait_until):
    receiver.clear()
    async with run_sandbox(receiver.url, "--enabled-events", "payment_intent.canceled,charge.*") as other:
        client = other.client
        params = {"amount": 500, "currency": "usd"}
        intent = await client.v1.payment_intents.create_async(params=params)
        await client.v1.payment_intents.cancel_async(intent.id)

        await wait_until(lambda: receiver.events("payment_intent.canceled"))

        assert not receiver.events("payment_intent.created")
        assert (await other.state())["events"] == 2


async def test_body_is_json_in_ascii(sandbox, pay, receiver, wait_until):
    await pay(confirm=False, description="ü 日本")

    await wait_until(lambda: receiver.deliveries)

    delivery = receiver.deliveries[0]
    assert delivery.headers["Content-Type"] == "application/json; charset=utf-8"
    assert json.loads(delivery.body.decode("ascii"))["data"]["object"]["description"] == "ü 日本"
