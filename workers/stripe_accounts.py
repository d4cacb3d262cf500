"""Connected accounts at Stripe, as settlement asks for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import quote

from stripe.params import AccountCreateParams, AccountLinkCreateParams, AccountListParams

from domain.sellers.model import SellerAccount
from domain.settlement.answers import Absent, LinkAnswer, Refusal, StripeAccount, Throttled, Unsure
from domain.settlement.stripe_objects import read_account, read_link
from workers.stripe_answers import read_list, read_object
from workers.stripe_calls import StripeCalls

_ACCOUNTS = "/v1/accounts"
_LINKS = "/v1/account_links"
_MAX_PAGES = 100
_CLOCK_SKEW = timedelta(minutes=5)


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
        return read_object(await self._calls.call("post", _ACCOUNTS, params, key=account.stripe_key), read_account)

    async def retrieve_account(self, account: SellerAccount) -> StripeAccount | Refusal | Unsure | Throttled:
        """Return the present state of an account that is known at Stripe."""
        path = f"{_ACCOUNTS}/{quote(account.stripe_account_id or '', safe='')}"
        return read_object(await self._calls.call("get", path, {}), read_account)

    async def find_account(self, account: SellerAccount) -> StripeAccount | Absent | Unsure | Throttled:
        """Search the list of accounts for the seller's, by our id in the metadata; the list is complete."""
        started = (account.first_sent_at or account.created_at) - _CLOCK_SKEW
        params: AccountListParams = {"created": {"gte": int(started.timestamp())}}
        found = await read_list(self._calls, _ACCOUNTS, params, read_account, max_pages=_MAX_PAGES)
        if not isinstance(found, Sequence):
            return found
        return next((each for each in found if each.seller_id == account.seller_id), Absent())

    async def make_link(self, stripe_account_id: str) -> LinkAnswer:
        """Make a link to Stripe's questions about an account; harmless to repeat."""
        params: AccountLinkCreateParams = {
            "account": stripe_account_id,
            "type": "account_onboarding",
            "refresh_url": self._terms.refresh_url,
            "return_url": self._terms.return_url,
        }
        return read_object(await self._calls.call("post", _LINKS, params), read_link)
