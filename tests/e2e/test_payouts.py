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


async def completed(market: Market, seller: Caller, currency: str = "USD") -> Json:
    """The payment of an order of 19.99 that is paid, shipped and completed; Stripe pays the seller out.

    There is other money at Stripe: earlier tests may have lost more in disputes than they left there.
    """
    await ask(seller)
    await follow((await become(seller, onboarding_status="open"))["link"])
    await become(seller, payouts_enabled=True)
    buyer = await market.register("buyer")
    other = await market.product(await market.register("seller"), price_minor=100_000)
    await market.become(buyer, await market.pay(buyer, await market.order(buyer, other)), "succeeded")
    order = await market.order(buyer, await market.product(seller, currency=currency))
    payment = await market.become(buyer, await market.pay(buyer, order), "succeeded")
    exchanged = [] if currency == "USD" else ["conversion_charged", "conversion_settled"]
    await market.booked(payment, "charge", "stripe_fee", *exchanged)
    path = f"/v1/orders/{order['id']}"
    await seller.client.request("POST", f"{path}/shipments", {"carrier": "DHL", "tracking_number": "1"})
    await buyer.client.request("POST", f"{path}/completion")
    return payment


async def dollars_on_their_way(seller: Caller) -> str:
    """The address of a payout of all dollars that are available to a seller, once there are some."""

    async def accepted() -> Json:
        answer = await seller.post("/v1/payouts", {"currency": "USD"}, key=new_key())
        assert answer.status_code == 202, answer.text  # not before Stripe lets the money go
        return dict(answer.json())

    return f"/v1/payouts/{(await eventually(accepted))['id']}"


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

    path = await dollars_on_their_way(seller)
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


async def test_share_that_stripe_settled_in_another_currency_is_paid_out_in_that_one(
    market: Market, sandbox: Sandbox
) -> None:
    """19.99 EUR become 21.99 USD; the seller has 21.44 of them, bears the fee, and loses 9.75 EUR at 1.2."""
    seller = await market.register("seller")
    await sandbox.settle_in("eur", "usd", 1.1)
    try:
        payment = await completed(market, seller, "EUR")
        path = await dollars_on_their_way(seller)
        paid = await reads(seller, path, status="in_transit", currency="USD")
        account = await account_of(sandbox, seller.id)
        assert await transfers_to(sandbox, account) == [(2144 - 94, 0)]
        assert paid["amount_minor"] == 2144 - 94

        await sandbox.settle_in("eur", "usd", 1.2)
        refund = {"reason": "one is enough", "amount_minor": 1000}
        await seller.post(f"/v1/payments/{payment['id']}/refunds", refund, key=new_key())
        await reads(seller, path, reversed_minor=1170)
    finally:
        await sandbox.settle_in("eur", None)

    async def is_even() -> bool:
        assert await transfers_to(sandbox, account) == [(2144 - 94, 1170)]
        balances = (await seller.get("/v1/sellers/me/balance")).json()["data"]
        assert {each["currency"]: each["balance_minor"] for each in balances} == {"EUR": 0, "USD": 0}
        return True

    await eventually(is_even)
    await market.check_books()
