"""How a customer learns what became of a payment."""

import asyncio

from api.client import FINAL
from tests.e2e.market import Caller, Json, Market, Sandbox
from tests.eventually import DEADLINE_S


async def test_client_waits_for_the_end_of_a_payment(
    market: Market, sandbox: Sandbox, buyer: Caller, order: Json
) -> None:
    accepted = await market.pay(buyer, order, payment_method="pm_card_authenticationRequired")
    waiting = await buyer.client.payments.wait(accepted["id"])
    assert waiting["status"] == "requires_action"

    ending = asyncio.create_task(buyer.client.payments.wait(accepted["id"], until=FINAL))
    await sandbox.authenticate(accepted, succeed=True)

    assert (await ending)["status"] == "succeeded"


async def test_client_follows_its_payment_to_the_end(market: Market, buyer: Caller, order: Json) -> None:
    stream = buyer.client.events()
    following = asyncio.ensure_future(anext(stream))
    async with asyncio.timeout(DEADLINE_S):
        await stream.opened()
        payment = await market.pay(buyer, order)
        seen = [await following]
        while seen[-1]["type"] != "order.paid":
            seen.append(await anext(stream))
    await stream.aclose()

    mine = [event["type"] for event in seen if event["subject_id"] in {payment["id"], order["id"]}]
    assert mine == ["payment.accepted", "payment.succeeded", "order.paid"]
