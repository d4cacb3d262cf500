import asyncio

import pytest
import stripe

DAY_S = 24 * 3600


async def _charges(sandbox):
    return len((await sandbox.state())["charges"])


async def test_same_key_and_parameters_get_the_first_answer(sandbox, client, pay):
    first = await pay("key", metadata={"a": "1"}, expand=["latest_charge"])
    await client.v1.payment_intents.update_async(first.id, params={"metadata": {"a": "2"}})

    again = await pay("key", metadata={"a": "1"}, expand=["latest_charge"])

    assert again.to_dict() == first.to_dict()
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert again.last_response.headers["Original-Request"] == first.last_response.headers["Request-Id"]
    assert "Idempotent-Replayed" not in first.last_response.headers
    assert await _charges(sandbox) == 1


async def test_order_of_parameters_does_not_matter(sandbox):
    headers = {"Authorization": "Bearer sk_test_1", "Idempotency-Key": "key"}
    pairs = [("amount", "500"), ("currency", "usd"), ("metadata[a]", "1")]

    _, first = await sandbox.call("POST", "/v1/payment_intents", data=pairs, headers=headers)
    _, again = await sandbox.call("POST", "/v1/payment_intents", data=pairs[::-1], headers=headers)

    assert again == first


async def test_used_key_with_other_parameters_is_refused(sandbox, pay):
    await pay("key")

    with pytest.raises(stripe.IdempotencyError) as caught:
        await pay("key", amount=2000)

    assert caught.value.http_status == 400
    assert await _charges(sandbox) == 1


async def test_used_key_on_another_path_is_refused(sandbox, client, pay):
    intent = await pay("key", capture_method="manual")

    with pytest.raises(stripe.IdempotencyError):
        await client.v1.payment_intents.capture_async(intent.id, options={"idempotency_key": "key"})


async def test_concurrent_use_of_a_key_is_a_conflict(sandbox, pay, wait_until):
    await sandbox.fault("POST /v1/payment_intents", "delay_ms:3600000", count=1)

    calls = [asyncio.create_task(pay("key")) for _ in range(5)]
    await wait_until(lambda: sum(call.done() for call in calls) == 4)
    await sandbox.set_clock(3_601)  # the first one arrives
    answers = await asyncio.gather(*calls, return_exceptions=True)

    conflicts = [answer for answer in answers if isinstance(answer, stripe.StripeError)]
    assert len(conflicts) == 4
    assert {(error.http_status, error.error.code) for error in conflicts} == {(409, "idempotency_key_in_use")}
    assert await _charges(sandbox) == 1
    assert (await pay("key")).last_response.headers["Idempotent-Replayed"] == "true"


async def test_declines_are_kept(sandbox, pay):
    bodies = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as caught:
            await pay("key", payment_method="pm_card_chargeDeclined")
        bodies.append(caught.value.json_body)

    assert bodies[0] == bodies[1]
    assert caught.value.headers["Idempotent-Replayed"] == "true"
    assert await _charges(sandbox) == 1


async def test_failed_validation_keeps_nothing(sandbox, pay):
    with pytest.raises(stripe.InvalidRequestError):
        await pay("key", amount=1)

    assert (await pay("key")).status == "succeeded"


async def test_unknown_id_and_wrong_key_keep_nothing(sandbox, client, pay):
    options = {"idempotency_key": "key"}
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.payment_intents.confirm_async("pi_absent", options=options)
    with pytest.raises(stripe.AuthenticationError):
        await sandbox.stripe_with("nonsense").v1.payment_intents.confirm_async("pi_absent", options=options)

    assert (await pay("key")).status == "succeeded"


async def test_rate_limit_keeps_nothing(sandbox, pay):
    await sandbox.fault("POST /v1/payment_intents", "error_429", count=1)
    with pytest.raises(stripe.RateLimitError):
        await pay("key")

    assert (await pay("key")).status == "succeeded"


async def test_errors_of_state_are_kept(sandbox, client, pay):
    intent = await pay()
    for _ in range(2):
        with pytest.raises(stripe.InvalidRequestError) as caught:
            await client.v1.payment_intents.capture_async(intent.id, options={"idempotency_key": "key"})

    assert caught.value.headers["Idempotent-Replayed"] == "true"


async def test_key_is_forgotten_after_a_day_and_not_before(sandbox, pay):
    first = await pay("key")

    await sandbox.set_clock(DAY_S - 60)
    assert (await pay("key")).id == first.id

    await sandbox.set_clock(DAY_S + 60)
    assert (await pay("key")).id != first.id


async def test_key_above_255_characters_is_refused(sandbox, pay):
    with pytest.raises(stripe.InvalidRequestError):
        await pay("k" * 256)

    assert (await pay("k" * 255)).status == "succeeded"
