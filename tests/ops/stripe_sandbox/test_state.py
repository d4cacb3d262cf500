import asyncio
import signal

import psutil
import pytest
import stripe


async def test_state_is_the_whole_truth(sandbox, client, pay):
    intent = await pay(metadata={"payment_id": "p-1"})
    await client.v1.refunds.create_async(params={"payment_intent": intent.id, "amount": 500})

    state = await sandbox.state()

    assert state["payment_intents"] == [(await client.v1.payment_intents.retrieve_async(intent.id)).to_dict()]
    assert [charge["id"] for charge in state["charges"]] == [intent.latest_charge]
    assert [refund["amount"] for refund in state["refunds"]] == [500]
    assert [each["net"] for each in state["balance_transactions"]] == [1911, -500]
    assert (state["transfers"], state["payouts"], state["disputes"]) == ([], [], [])
    assert state["events"] == 5
    assert state["balance"]["pending"][0]["amount"] == 1911
    assert set(state["webhooks"]) >= {"pending", "delivered"}


async def test_compact_state_leaves_constant_fields_out(sandbox, pay):
    intent = await pay()

    _, state = await sandbox.call("GET", "/_sandbox/state?compact=true")

    assert [row["id"] for row in state["payment_intents"]] == [intent.id]
    assert "review" not in state["payment_intents"][0]


async def test_reset_forgets_everything(sandbox, pay):
    await pay("key")
    await sandbox.fault("*", "webhook_drop")

    status, _ = await sandbox.call("DELETE", "/_sandbox/state")

    assert status == 204
    state = await sandbox.state()
    assert (state["payment_intents"], state["events"], state["webhooks"]["pending"]) == ([], 0, 0)
    assert "Idempotent-Replayed" not in (await pay("key")).last_response.headers


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_state_survives_a_restart(run_sandbox, receiver, wait_until, tmp_path, end):
    receiver.statuses = [500] * 100
    path = tmp_path / "state"
    arguments = ["--state-file", str(path), "--webhook-retry-base-s", "60"]
    params = {
        "amount": 1999,
        "currency": "usd",
        "confirm": True,
        "payment_method": "pm_card_visa",
        "payment_method_types": ["card"],
        "expand": ["latest_charge.balance_transaction"],
    }
    options = {"idempotency_key": "key"}
    async with run_sandbox(receiver.url, *arguments) as first:
        intent = await first.client.v1.payment_intents.create_async(params=params, options=options)
        account_id = await _send_and_pay_out(first, params)
        declined = {**params, "payment_method": "pm_card_chargeDeclined"}
        with pytest.raises(stripe.CardError):
            await first.client.v1.payment_intents.create_async(params=declined)
        await _webhooks(first, wait_until, "failed_attempts", 13)
        await first.set_clock(50)
        before = await first.state()
        await wait_until(lambda: b"offset_s" in path.read_bytes())
        await _end(first, end)
    receiver.clear()

    async with run_sandbox(receiver.url, *arguments) as second:
        after = await second.state()
        again = await second.client.v1.payment_intents.create_async(params=params, options=options)
        await _webhooks(second, wait_until, "delivered", 13)

    kept = after.keys() - {"webhooks", "clock"}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert after["connected"][account_id]["balance"]["available"][0]["amount"] == 0
    assert after["clock"]["offset_s"] == 50
    assert again.to_dict() == intent.to_dict()
    assert again.last_response.headers["Idempotent-Replayed"] == "true"


async def _send_and_pay_out(sandbox, params):
    """Make a transfer and a payout, and return the account's id."""
    client = sandbox.client
    account = await client.v1.accounts.create_async(params={"type": "express"})
    await sandbox.call("POST", f"/_sandbox/accounts/{account.id}", json={"payouts_enabled": True})
    available = {**params, "payment_method": "pm_card_bypassPending"}
    await client.v1.payment_intents.create_async(params=available)
    await client.v1.transfers.create_async(params={"amount": 100, "currency": "usd", "destination": account.id})
    await sandbox.call("POST", f"/_sandbox/accounts/{account.id}/payouts")
    return account.id


async def _webhooks(sandbox, wait_until, count, expected):
    async def reached():
        return (await sandbox.state())["webhooks"][count] == expected

    await wait_until(reached)


async def _end(sandbox, end):
    assert not psutil.Process(sandbox.process.pid).children()
    sandbox.process.send_signal(end)
    await asyncio.to_thread(sandbox.process.wait, 60)


async def test_torn_last_batch_of_the_state_is_cut_off(run_sandbox, tmp_path):
    path = tmp_path / "state"
    params = {"amount": 500, "currency": "usd"}
    async with run_sandbox("", "--state-file", str(path)) as first:
        await first.client.v1.payment_intents.create_async(params=params)
    with path.open("ab") as file:
        file.write(path.read_bytes()[:50])

    async with run_sandbox("", "--state-file", str(path)) as second:
        await second.client.v1.payment_intents.create_async(params=params)
    async with run_sandbox("", "--state-file", str(path)) as third:
        state = await third.state()

    assert len(state["payment_intents"]) == 2


async def test_timers_survive_a_restart(run_sandbox, wait_until, tmp_path):
    arguments = ["--state-file", str(tmp_path / "state"), "--dispute-delay-s", "60"]
    params = {
        "amount": 1999,
        "currency": "usd",
        "confirm": True,
        "payment_method": "pm_card_createDispute",
        "payment_method_types": ["card"],
    }
    async with run_sandbox("", *arguments) as first:
        await first.client.v1.payment_intents.create_async(params=params)
        assert (await first.state())["disputes"] == []

    async with run_sandbox("", *arguments) as second:
        await second.set_clock(61)

        async def disputed():
            return (await second.state())["disputes"]

        await wait_until(disputed)


@pytest.mark.parametrize("body", [{}, {"offset_s": "1"}, {"offset_s": True}, {"offset_s": 1e300}, {"to": 1}, [1]])
async def test_senseless_clocks_are_refused(sandbox, body):
    status, _ = await sandbox.call("POST", "/_sandbox/clock", json=body)

    assert status == 422


@pytest.mark.parametrize("body", [{}, {"succeed": "yes"}, {"succeed": True, "why": 1}, 5])
async def test_senseless_authentications_are_refused(sandbox, pay, body):
    intent = await pay(payment_method="pm_card_authenticationRequired")

    status, _ = await sandbox.call("POST", f"/_sandbox/payment_intents/{intent.id}/authentication", json=body)

    assert status == 422


async def test_authentication_needs_an_intent_that_waits_for_it(sandbox, pay):
    intent = await pay()

    async def authenticate(intent_id):
        path = f"/_sandbox/payment_intents/{intent_id}/authentication"
        return (await sandbox.call("POST", path, json={"succeed": True}))[0]

    assert await authenticate(intent.id) == 409
    assert await authenticate("pi_absent") == 404
