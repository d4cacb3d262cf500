"""Payouts on the whole stack: once, whatever befalls the transfer, and mirrored to the bank."""

import pytest

from tests.e2e.market import Caller, Json, Market, Sandbox, new_key
from tests.e2e.test_sellers import account_of, ask, become, follow
from tests.eventually import eventually

SHARE = 1949 - 88
"""What the seller has of an order of 19.99: less the commission, and less Stripe's fee."""


async def reads(caller: Caller, path: str, **facts: object) -> Json:
    """Wait until an object says so."""

    async def look() -> Json:
        found: Json = (await caller.get(path)).json()
        assert {name: found[name] for name in facts} == facts, found
        return found

    return await eventually(look)


async def completed(market: Market, seller: Caller) -> Json:
    """The payment of an order of 19.99 that is paid, shipped and completed; Stripe pays the seller out."""
    await ask(seller)
    await follow((await become(seller, onboarding_status="open"))["link"])
    await become(seller, payouts_enabled=True)
    buyer = await market.register("buyer")
    order = await market.order(buyer, await market.product(seller))
    payment = await market.become(buyer, await market.pay(buyer, order), "succeeded")
    await market.booked(payment, "charge", "stripe_fee")
    path = f"/v1/orders/{order['id']}"
    await seller.client.request("POST", f"{path}/shipments", {"carrier": "DHL", "tracking_number": "1"})
    await buyer.client.request("POST", f"{path}/completion")
    return payment


async def transfers_to(sandbox: Sandbox, account: Json) -> list[tuple[int, int]]:
    """The amount of each transfer to an account, and what was taken back of it."""
    transfers = (await sandbox.state())["transfers"]
    return [
        (each["amount"], each["amount_reversed"]) for each in transfers if each["destination"] == account["id"]
    ]


@pytest.mark.parametrize("effect", [None, "drop_after"])
async def test_share_reaches_the_bank_once_and_a_refund_takes_it_back(
    market: Market, sandbox: Sandbox, effect: str | None
) -> None:
    seller = await market.register("seller")
    payment = await completed(market, seller)
    if effect:
        await sandbox.order_fault(effect, "POST /v1/transfers", count=1)

    async def accepted() -> Json:
        answer = await seller.post("/v1/payouts", {"currency": "USD"}, key=new_key())
        assert answer.status_code == 202, answer.text  # not before Stripe lets the money go
        return dict(answer.json())

    path = f"/v1/payouts/{(await eventually(accepted))['id']}"
    await reads(seller, path, status="in_transit", amount_minor=SHARE)
    account = await account_of(sandbox, seller.id)
    assert await transfers_to(sandbox, account) == [(SHARE, 0)]

    bank_payout = await sandbox.pay_out_to_bank(account)
    await reads(seller, path, status="paid", stripe_payout_id=bank_payout["id"])

    refund = {"reason": "one is enough", "amount_minor": 1000}
    await seller.post(f"/v1/payments/{payment['id']}/refunds", refund, key=new_key())
    await reads(seller, path, reversed_minor=975)

    async def is_even() -> bool:
        assert await transfers_to(sandbox, account) == [(SHARE, 975)]
        (balance,) = (await seller.get("/v1/sellers/me/balance")).json()["data"]
        assert (balance["balance_minor"], balance["negative_minor"]) == (0, 0), balance
        return True

    await eventually(is_even)
