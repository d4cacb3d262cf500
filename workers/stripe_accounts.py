"""Connected accounts at Stripe, as settlement asks for them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from urllib.parse import quote

from stripe.params import AccountCreateParams, AccountLinkCreateParams, AccountListParams

from domain.sellers.model import SellerAccount
from domain.settlement.answers import Absent, LinkAnswer, Refusal, StripeAccount, Throttled, Unsure
from domain.settlement.stripe_objects import JsonObject, read_account, read_link
from workers.stripe_calls import RawAnswer, StripeCalls

_ACCOUNTS = "/v1/accounts"
_LINKS = "/v1/account_links"
_PAGE = 100
_MAX_PAGES = 100
_CLOCK_SKEW = timedelta(minutes=5)

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class OnboardingTerms:
    """What Stripe is told of new sellers: their country, and the pages to which it sends them back."""

    country: str
    refresh_url: str
    return_url: str


class StripeAccounts:
    """`domain.settlement.gateways.AccountGateway`."""

    def __init__(self, calls: StripeCalls, terms: OnboardingTerms) -> None:
        """Keep what makes the calls."""
        self._calls = calls
        self._terms = terms

    async def open_account(self, account: SellerAccount) -> StripeAccount | Refusal | Unsure | Throttled:
        """Make a seller's account under its present key; safe to repeat.

        The platform answers for fees and losses, as it does with charges of its own
        (docs.stripe.com/connect/separate-charges-and-transfers), and Stripe asks the seller all that it must know.
        """
        params: AccountCreateParams = {
            "country": self._terms.country,
            "controller": {
                "fees": {"payer": "application"},
                "losses": {"payments": "application"},
                "stripe_dashboard": {"type": "express"},
            },
            "capabilities": {"transfers": {"requested": True}},
            "metadata": {"seller_id": str(account.seller_id)},
        }
        return _read(await self._calls.call("post", _ACCOUNTS, params, key=account.stripe_key), read_account)

    async def retrieve_account(self, account: SellerAccount) -> StripeAccount | Refusal | Unsure | Throttled:
        """Return the present state of an account that is known at Stripe."""
        path = f"{_ACCOUNTS}/{quote(account.stripe_account_id or '', safe='')}"
        return _read(await self._calls.call("get", path, {}), read_account)

    async def find_account(self, account: SellerAccount) -> StripeAccount | Absent | Unsure | Throttled:
        """Search the list of accounts for the seller's, by our id in the metadata; the list is complete."""
        started = (account.first_sent_at or account.created_at) - _CLOCK_SKEW
        params: AccountListParams = {"created": {"gte": int(started.timestamp())}, "limit": _PAGE}
        for _ in range(_MAX_PAGES):
            page = await self._calls.call("get", _ACCOUNTS, params)
            if not isinstance(page, Mapping):
                # Absence needs the whole list, and a refusal to list anything is no refusal of an account.
                return Unsure("the list was refused") if isinstance(page, Refusal) else page
            if not isinstance(page.get("data"), list):
                return Unsure("a list that cannot be read")
            for raw in page["data"]:
                found = _read(raw, read_account)
                if not isinstance(found, StripeAccount):
                    return Unsure("the list has an account that cannot be read")
                if found.seller_id == account.seller_id:
                    return found
            if not page["has_more"]:
                return Absent()
            params["starting_after"] = page["data"][-1]["id"]
        return Unsure("the list does not end")

    async def make_link(self, stripe_account_id: str) -> LinkAnswer:
        """Make a link to Stripe's questions about an account; harmless to repeat."""
        params: AccountLinkCreateParams = {
            "account": stripe_account_id,
            "type": "account_onboarding",
            "refresh_url": self._terms.refresh_url,
            "return_url": self._terms.return_url,
        }
        return _read(await self._calls.call("post", _LINKS, params), read_link)


def _read(raw: RawAnswer, read: Callable[[JsonObject], Found]) -> Found | Refusal | Unsure | Throttled:
    if not isinstance(raw, Mapping):
        return raw
    try:
        return read(raw)
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        return Unsure(f"an object that cannot be read: {error!r}")
