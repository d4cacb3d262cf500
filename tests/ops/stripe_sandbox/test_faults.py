import asyncio
import time

import aiohttp
import pytest
import stripe

from ops.stripe_sandbox.app import RESOURCES

MATCH = "POST /v1/payment_intents"


async def _truth(sandbox):
    state = await sandbox.state()
    return len(state["payment_intents"]), len(state["charges"])


async def _are_on_their_way(sandbox, count):
    _, listed = await sandbox.call("GET", "/_sandbox/faults")
    return listed["faults"][0]["hits"] == count


async def test_drop_before_cuts_the_connection_and_does_nothing(sandbox, pay):
    await sandbox.fault(MATCH, "drop_before", count=1)

    with pytest.raises(stripe.APIConnectionError) as caught:
        await pay("key")

    assert caught.value.http_status is None
    assert isinstance(caught.value.__cause__, aiohttp.ServerDisconnectedError)
    assert await _truth(sandbox) == (0, 0)
    again = await pay("key")
    assert "Idempotent-Replayed" not in again.last_response.headers


async def test_drop_after_charges_and_cuts_the_connection(sandbox, pay):
    await sandbox.fault(MATCH, "drop_after", count=1)

    with pytest.raises(stripe.APIConnectionError) as caught:
        await pay("key")

    assert isinstance(caught.value.__cause__, aiohttp.ServerDisconnectedError)
    assert await _truth(sandbox) == (1, 1)
    again = await pay("key")
    assert (again.status, again.last_response.headers["Idempotent-Replayed"]) == ("succeeded", "true")
    assert await _truth(sandbox) == (1, 1)


async def test_cut_connection_carries_not_one_byte(sandbox):
    await sandbox.fault("GET /v1/balance", "drop_after", count=1)
    port = int(sandbox.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    writer.write(b"GET /v1/balance HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk_test_1\r\n\r\n")
    got = await asyncio.wait_for(reader.read(), 60)

    writer.close()
    assert got == b""


@pytest.mark.parametrize(("effect", "charged"), [("error_500", 0), ("error_500_after", 1)])
async def test_server_errors_are_kept_under_the_key(sandbox, pay, effect, charged):
    await sandbox.fault(MATCH, effect, count=1)

    replayed = []
    for _ in range(2):
        with pytest.raises(stripe.APIError) as caught:
            await pay("key")
        assert (caught.value.http_status, caught.value.error.type) == (500, "api_error")
        replayed.append(caught.value.headers.get("Idempotent-Replayed"))

    assert replayed == [None, "true"]
    assert await _truth(sandbox) == (charged, charged)


async def test_rate_limit_asks_to_come_back(sandbox, pay):
    await sandbox.fault(MATCH, "error_429", count=1)

    with pytest.raises(stripe.RateLimitError) as caught:
        await pay()

    assert (caught.value.http_status, caught.value.headers["Retry-After"]) == (429, "1")
    assert await _truth(sandbox) == (0, 0)


async def test_delay_makes_the_answer_late(sandbox, pay):
    await sandbox.fault(MATCH, "delay_ms:300", count=1)
    started = time.monotonic()

    await pay()

    assert time.monotonic() - started >= 0.3


async def test_client_that_gives_up_waiting_is_charged_all_the_same(sandbox, pay, wait_until):
    await sandbox.fault(MATCH, "delay_ms:3600000", count=1)
    waiting = asyncio.create_task(pay("key"))
    await wait_until(lambda: _are_on_their_way(sandbox, 1))

    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await sandbox.set_clock(3_601)

    assert await _truth(sandbox) == (1, 1)
    assert (await pay("key")).last_response.headers["Idempotent-Replayed"] == "true"


async def test_delayed_call_arrives_when_the_clock_is_put_forward(sandbox, pay, wait_until):
    await sandbox.fault(MATCH, "delay_ms:6000000", count=2)
    slow = [asyncio.create_task(pay()) for _ in range(2)]
    await wait_until(lambda: _are_on_their_way(sandbox, 2))
    await sandbox.set_clock(5_000)
    assert await _truth(sandbox) == (0, 0)

    await sandbox.set_clock(6_001)

    assert await _truth(sandbox) == (2, 2)
    await asyncio.gather(*slow, return_exceptions=True)  # who waited too long for it has given up


async def test_fault_hits_only_what_it_matches(sandbox, client, pay):
    await sandbox.fault("POST /v1/refunds", "drop_before")

    intent = await pay()

    with pytest.raises(stripe.APIConnectionError):
        await client.v1.refunds.create_async(params={"payment_intent": intent.id})


async def test_count_limits_and_rate_spares(sandbox, pay):
    await sandbox.fault(MATCH, "error_429", count=2)
    outcomes = await asyncio.gather(*(pay() for _ in range(6)), return_exceptions=True)
    assert sum(isinstance(outcome, stripe.RateLimitError) for outcome in outcomes) == 2

    await sandbox.call("DELETE", "/_sandbox/faults")
    await sandbox.fault(MATCH, "error_429", rate=0.5, seed=7)
    outcomes = await asyncio.gather(*(pay() for _ in range(60)), return_exceptions=True)
    assert 10 < sum(isinstance(outcome, stripe.RateLimitError) for outcome in outcomes) < 50


async def test_same_seed_hits_the_same_calls(sandbox, pay):
    async def hits():
        await sandbox.call("DELETE", "/_sandbox/faults")
        await sandbox.fault(MATCH, "error_429", rate=0.5, seed=42)
        pattern = []
        for _ in range(20):
            try:
                await pay()
                pattern.append(False)
            except stripe.RateLimitError:
                pattern.append(True)
        return pattern

    assert await hits() == await hits()


async def test_faults_are_listed_and_cleared(sandbox, pay):
    await sandbox.fault(MATCH, "delay_ms:5", rate=0.25, count=3, seed=1)

    _, body = await sandbox.call("GET", "/_sandbox/faults")
    status, _ = await sandbox.call("DELETE", "/_sandbox/faults")

    expected = {"match": MATCH, "effect": "delay_ms:5", "rate": 0.25, "count": 3, "seed": 1, "hits": 0}
    assert body == {"faults": [expected]}
    assert status == 204
    assert (await sandbox.call("GET", "/_sandbox/faults"))[1] == {"faults": []}


async def test_late_balance_transaction_comes_with_charge_updated(sandbox, client, pay, receiver, wait_until):
    await sandbox.fault(MATCH, "late_balance_transaction:3600000", count=1)

    intent = await pay(expand=["latest_charge"])

    charge = intent.latest_charge
    assert (intent.status, charge.balance_transaction) == ("succeeded", None)
    listed = await client.v1.balance_transactions.list_async(params={"source": charge.id})
    assert listed.data == []
    await sandbox.set_clock(3_601)
    (event,) = await wait_until(lambda: receiver.events("charge.updated"))
    transaction_id = event["data"]["object"]["balance_transaction"]
    assert event["data"]["previous_attributes"] == {"balance_transaction": None}
    transaction = await client.v1.balance_transactions.retrieve_async(transaction_id)
    assert (transaction.fee, transaction.source) == (88, charge.id)


ROUTES = [
    (method, path.format(object_id="id_1", part_id="id_2"))
    for resource in RESOURCES
    for path, operations in resource.ROUTES.items()
    for method in operations
]


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda part: part)
@pytest.mark.parametrize(("effect", "expected"), [("error_429", 429), ("drop_before", None)])
async def test_every_route_can_be_hit(sandbox, method, path, effect, expected):
    await sandbox.fault(f"{method} {path}", effect)  # without a count, since aiohttp repeats a GET that was cut
    headers = {"Authorization": "Bearer sk_test_1"}

    try:
        status, _ = await sandbox.call(method, path, headers=headers)
    except aiohttp.ServerDisconnectedError:
        status = None

    assert status == expected


@pytest.mark.parametrize(
    "body",
    [
        {"match": MATCH, "effect": "explode"},
        {"match": MATCH, "effect": "delay_ms"},
        {"match": MATCH, "effect": "delay_ms:soon"},
        {"match": MATCH, "effect": "drop_before:5"},
        {"match": MATCH, "effect": "drop_before", "rate": 2},
        {"match": MATCH, "effect": "drop_before", "rate": True},
        {"match": MATCH, "effect": "drop_before", "count": -1},
        {"match": MATCH, "effect": "drop_before", "count": 1.5},
        {"match": MATCH, "effect": "drop_before", "colour": "red"},
        {"match": "payment_intent.created", "effect": "drop_before"},
        {"match": "", "effect": "webhook_drop"},
        {"match": "payment_intent.created charge.succeeded", "effect": "webhook_drop"},
        {"match": "/v1/payment_intents", "effect": "webhook_drop"},
        {"effect": "webhook_drop"},
        [],
    ],
)
async def test_senseless_faults_are_refused(sandbox, body):
    status, answer = await sandbox.call("POST", "/_sandbox/faults", json=body)

    assert status == 422
    assert answer["description"]
    assert (await sandbox.call("GET", "/_sandbox/faults"))[1] == {"faults": []}


@pytest.mark.parametrize("data", [b"", b"{", b'{"rate": NaN}', b"[" * 60_000, b"\xff"])
async def test_fault_that_is_not_json_is_400(sandbox, data):
    status, _ = await sandbox.call("POST", "/_sandbox/faults", data=data)

    assert status == 400
