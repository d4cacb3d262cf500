"""What a client's server hears of its payments: everything, signed, and whatever happens to the worker."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

import psycopg
import pytest
from aiohttp import web
from standardwebhooks import Webhook

from api.client import verify_webhook
from api.webhooks.payloads import PAYLOADS
from ops.stack import Stack
from tests.e2e.market import Caller, Json, Market
from tests.eventually import eventually

PATH = "/v1/webhook-endpoints"


@dataclass
class Receiver:
    """A client's server: `/well` takes everything, `/gone` is gone, `/silent` does not answer until it is let."""

    url: str = ""
    taken: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    let: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.path == "/gone" and not self.let.is_set():
            self.refused[request.path] += 1
            return web.Response(status=410)
        if request.path == "/silent" and not self.let.is_set():
            self.refused[request.path] += 1
            await self.let.wait()
        self.taken.append((request.path, dict(request.headers), body))
        return web.Response(text="thanks")

    def heard(self, path: str, secret: str, subject: str | None = None) -> list[Json]:
        """Return the payloads that came to a path, each verified by both libraries."""
        found = []
        for _, headers, body in [taken for taken in self.taken if taken[0] == path]:
            payload = Webhook(secret).verify(body, dict(headers))
            assert verify_webhook(body, headers, secret) == payload
            assert headers["webhook-id"] == payload["id"]
            typed = PAYLOADS[payload["type"]].model_validate_json(body, strict=True)
            assert not typed.data.model_extra
            found.append(payload)
        return [one for one in found if subject in {None, one["subject_id"]}]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", receiver.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield receiver
    receiver.let.set()
    await runner.cleanup()


@pytest.fixture
async def customer(market: Market) -> AsyncIterator[Caller]:
    """A buyer whose endpoints hear of nothing that other tests do, and end with the test."""
    customer = await market.register("buyer")
    yield customer
    for endpoint in (await customer.get(PATH)).json()["data"]:
        await customer.client.request("DELETE", f"{PATH}/{endpoint['id']}")


async def listen(customer: Caller, receiver: Receiver, path: str, *events: str) -> Json:
    made = await customer.post(PATH, {"url": f"{receiver.url}{path}", "events": list(events or ["*"])})
    assert made.status_code == 201, made.text
    return dict(made.json())


async def end_leases(market: Market, endpoint: Json) -> None:
    """Let the time be over for which a process may hold what it delivers there."""
    query = "UPDATE deliveries SET locked_until = now(), due_at = now() WHERE endpoint_id = %s"
    async with await psycopg.AsyncConnection.connect(market.info.database_url) as connection:
        await connection.execute(query, (endpoint["id"],))


async def until(condition: Callable[[], object]) -> None:
    await eventually(lambda: bool(condition()))


async def test_endpoint_is_told_of_a_payment_with_signatures_that_hold(
    market: Market, customer: Caller, product: Json, receiver: Receiver
) -> None:
    endpoint = await listen(customer, receiver, "/well")
    order = await market.order(customer, product)
    payment = await market.pay(customer, order)

    await until(lambda: "order.paid" in {one["type"] for one in receiver.heard("/well", endpoint["secret"])})
    await until(lambda: len(receiver.heard("/well", endpoint["secret"], payment["id"])) >= 2)

    news = {one["id"]: one for one in receiver.heard("/well", endpoint["secret"], payment["id"])}.values()
    in_order = sorted(news, key=lambda one: one["sequence"])
    assert [one["type"] for one in in_order] == ["payment.accepted", "payment.succeeded"]
    assert in_order[1]["data"]["amount_minor"] == payment["amount_minor"]

    async def logged() -> bool:
        log = (await customer.get(f"{PATH}/{endpoint['id']}/deliveries?status=delivered")).json()["data"]
        return {"thanks"} == {one["log"][0]["response_start"] for one in log}

    await eventually(logged)


async def test_both_secrets_sign_while_they_rotate(
    market: Market, customer: Caller, product: Json, receiver: Receiver
) -> None:
    endpoint = await listen(customer, receiver, "/well", "order.placed")
    rotated = (await customer.post(f"{PATH}/{endpoint['id']}/secret", {"overlap_s": 3600})).json()

    await market.order(customer, product)
    await until(lambda: receiver.taken)

    assert receiver.heard("/well", endpoint["secret"]) == receiver.heard("/well", rotated["secret"])


async def test_silent_endpoint_delays_no_other_and_gets_few_requests_at_once(
    market: Market, customer: Caller, product: Json, receiver: Receiver
) -> None:
    await listen(customer, receiver, "/silent")
    await asyncio.gather(*(market.order(customer, product) for _ in range(20)))
    await until(lambda: receiver.refused["/silent"])

    well = await listen(customer, receiver, "/well")
    orders = await asyncio.gather(*(market.order(customer, product) for _ in range(10)))
    wanted = {order["id"] for order in orders}
    await until(lambda: {one["subject_id"] for one in receiver.heard("/well", well["secret"])} == wanted)

    assert [taken for taken in receiver.taken if taken[0] == "/silent"] == []


async def test_worker_that_is_killed_in_mid_delivery_loses_none(
    stack: Stack, market: Market, customer: Caller, product: Json, receiver: Receiver
) -> None:
    endpoint = await listen(customer, receiver, "/silent", "payment.succeeded")
    payment = await market.pay(customer, await market.order(customer, product))
    await until(lambda: receiver.refused["/silent"])

    assert stack.kill("deliveries")
    receiver.let.set()
    await end_leases(market, endpoint)

    async def delivered() -> Json:
        path = f"{PATH}/{endpoint['id']}/deliveries?status=delivered"
        (found,) = (await customer.get(path)).json()["data"] or [None]
        assert found
        return dict(found)

    # The request that was cut off is no success: another process sends again, now that the lease has ended.
    delivery = await eventually(delivered)
    assert delivery["attempts"] == 2
    assert {one["id"] for one in receiver.heard("/silent", endpoint["secret"], payment["id"])} == {
        delivery["event_id"]
    }
    await asyncio.to_thread(stack.start_program, "deliveries")


async def test_endpoint_that_is_gone_is_disabled_told_of_and_brought_back(
    market: Market, customer: Caller, product: Json, receiver: Receiver
) -> None:
    gone = await listen(customer, receiver, "/gone", "order.placed")
    well = await listen(customer, receiver, "/well", "webhook_endpoint.*")
    order = await market.order(customer, product)

    await until(lambda: receiver.heard("/well", well["secret"], gone["id"]))
    missed = await market.order(customer, product)
    assert (await customer.get(f"{PATH}/{gone['id']}")).json()["disabled_reason"] == "gone"

    receiver.let.set()
    assert (await customer.post(f"{PATH}/{gone['id']}/activation", {})).status_code == 200
    since = {"since": order["created_at"]}
    asked = (await customer.post(f"{PATH}/{gone['id']}/redeliveries", since)).json()
    assert asked["scheduled"] == 2

    await until(
        lambda: (
            {one["subject_id"] for one in receiver.heard("/gone", gone["secret"])} == {order["id"], missed["id"]}
        )
    )
