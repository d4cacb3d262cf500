"""What a seller does to be paid: open an account at Stripe, have its share transferred and sent to its bank."""

from http import HTTPStatus
from typing import Any

import httpx

from api.client import Request, SyncClient, new_key
from domain.money import major
from ops.demo.market import Json, Market, ask, wait_until
from ops.demo.shopping import Offer

_PAUSE_S = 0.1


def pay_out(market: Market, offer: Offer) -> Json:
    """Bring a seller from nothing to money at its bank; return the payout."""
    seller = offer.seller
    _onboard(market, offer)
    balance = _balance(seller, lambda found: found["available_minor"] > 0)
    market.say(
        f"{offer.shop}: {major(balance['available_minor'], 'USD')} USD are available, the order is completed"
    )
    answer = ask(seller, Request("POST", "/v1/payouts", {"currency": "USD"}, key=new_key()))
    market.expect(answer.status_code == HTTPStatus.ACCEPTED, f"a payout is answered by {answer.text}")
    path = f"/v1/payouts/{answer.json()['id']}"
    payout = _until(seller, path, status="in_transit")
    market.expect(
        payout["amount_minor"] == balance["available_minor"], f"{payout['amount_minor']} of {balance} are paid out"
    )
    _send_to_bank(market, offer)
    payout = _until(seller, path, status="paid")
    market.expect(payout["status"] == "paid", f"a payout is {payout['status']}")
    market.say(
        f"{offer.shop}: is paid out {major(payout['amount_minor'], 'USD')} USD in one transfer, now at its bank"
    )
    return payout


def _onboard(market: Market, offer: Offer) -> None:
    """Let the seller follow Stripe's link and answer what Stripe wants to know."""
    seller, me = offer.seller, "/v1/sellers/me"
    seller.request("POST", f"{me}/onboarding")
    link = _until(seller, me, onboarding_status="open")["link"]
    httpx.get(link, timeout=30, trust_env=False)
    able = _until(seller, me, payouts_enabled=True)
    market.expect(able["payouts_enabled"], f"{offer.shop} cannot be paid out")
    market.say(f"{offer.shop}: has an account at Stripe")


def _send_to_bank(market: Market, offer: Offer) -> None:
    """Let Stripe send what the seller's account holds to its bank, and the bank take it."""
    accounts = market.stripe.get("/_sandbox/state").json()["accounts"]
    (account,) = [each for each in accounts if each["metadata"].get("seller_id") == offer.seller_id]
    made = market.stripe.post(f"/_sandbox/accounts/{account['id']}/payouts").raise_for_status().json()
    for payout in made["data"]:
        market.stripe.post(f"/_sandbox/payouts/{payout['id']}", json={"status": "paid"}).raise_for_status()


def _balance(seller: SyncClient, is_there: Any) -> Json:
    def read() -> Json:
        found = seller.request("GET", "/v1/sellers/me/balance")["data"]
        return next((row for row in found if row["currency"] == "USD"), {"available_minor": 0})

    return wait_until(read, is_there, pause_s=_PAUSE_S)


def _until(seller: SyncClient, path: str, **facts: object) -> Json:
    """Read an object until it says so, or too late."""
    return wait_until(
        lambda: seller.request("GET", path),
        lambda found: all(found[name] == value for name, value in facts.items()),
        pause_s=_PAUSE_S,
    )
