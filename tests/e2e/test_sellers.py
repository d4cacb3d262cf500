"""Sellers become known to Stripe, on the whole stack."""

import httpx

from tests.e2e.market import Caller, Json, Market, Sandbox
from tests.eventually import eventually


async def become(seller: Caller, **facts: object) -> Json:
    """Wait until the seller is told these facts of itself."""

    async def look() -> Json:
        found: Json = (await seller.get("/v1/sellers/me")).json()
        assert {name: found[name] for name in facts} == facts
        return found

    return await eventually(look)


async def ask(seller: Caller) -> None:
    answer = await seller.post("/v1/sellers/me/onboarding", None)
    assert answer.status_code == 202, answer.text


async def follow(link: str) -> None:
    async with httpx.AsyncClient(timeout=35, trust_env=False) as browser:
        assert (await browser.get(link)).status_code == 303


async def account_of(sandbox: Sandbox, seller_id: str) -> Json:
    """The seller's only account at Stripe."""
    accounts = (await sandbox.state())["accounts"]
    (found,) = [each for each in accounts if each["metadata"].get("seller_id") == seller_id]
    return dict(found)


async def test_seller_follows_the_link_and_can_be_paid_out(market: Market, sandbox: Sandbox) -> None:
    seller = await market.register("seller")
    await ask(seller)
    opened = await become(seller, onboarding_status="open", payouts_enabled=False)

    await follow(opened["link"])

    await become(seller, onboarding_status="complete", payouts_enabled=True, link=None)
    account = await account_of(sandbox, opened["id"])
    await sandbox.change_account(account["id"], payouts_enabled=False)
    await become(seller, onboarding_status="open", payouts_enabled=False)
    await ask(seller)
    renewed = await become(seller, onboarding_status="open", payouts_enabled=False)
    assert renewed["link"] not in {None, opened["link"]}


async def test_one_account_is_made_though_stripe_never_answers(market: Market, sandbox: Sandbox) -> None:
    for effect in ("drop_after", "error_500_after"):
        seller = await market.register("seller")
        await sandbox.order_fault(effect, "POST /v1/accounts", count=1)

        await ask(seller)

        opened = await become(seller, onboarding_status="open")
        await account_of(sandbox, opened["id"])
