"""Sellers as they are paid out: each has one connected account at Stripe, which Stripe must come to know."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.ids import UserId


class OnboardingStatus(StrEnum):
    """Where the onboarding of a seller stands.

    It is `not_started` until the seller asks for it, `pending` while a worker makes the account or a link, `open`
    while the seller has to answer Stripe's questions under the link, `complete` while Stripe pays out.
    """

    NOT_STARTED = "not_started"
    PENDING = "pending"
    OPEN = "open"
    COMPLETE = "complete"
    FAILED = "failed"


# The one table of an account's legal steps; the database holds the same rows, and a test compares the two. Stripe
# may ask again of whom it knew (docs.stripe.com/connect/handling-api-verification): what was complete opens again.
ONBOARDING_TRANSITIONS: Mapping[OnboardingStatus, frozenset[OnboardingStatus]] = {
    OnboardingStatus.PENDING: frozenset(
        {OnboardingStatus.OPEN, OnboardingStatus.COMPLETE, OnboardingStatus.FAILED}
    ),
    OnboardingStatus.OPEN: frozenset({OnboardingStatus.PENDING, OnboardingStatus.COMPLETE}),
    OnboardingStatus.COMPLETE: frozenset({OnboardingStatus.OPEN}),
    OnboardingStatus.FAILED: frozenset({OnboardingStatus.PENDING, OnboardingStatus.COMPLETE}),
}


@dataclass(frozen=True, slots=True)
class SellerAccount:
    """A seller's connected account, from the moment the seller asks for it.

    `payouts_enabled` says that money can be transferred to it and paid out from there. `key_number` counts the
    Stripe keys that were given up: the present one was first used at `first_sent_at`, and is not used again from
    `key_burnt_at` on. `wakes` counts how often somebody wanted it to be looked at: what Stripe said before the
    last time may be old. By `traceparent` and `request_id` spans and logs tell which request asked last.
    """

    seller_id: UserId
    status: OnboardingStatus
    created_at: datetime
    updated_at: datetime
    stripe_account_id: str | None = None
    payouts_enabled: bool = False
    link: str | None = None
    link_expires_at: datetime | None = None
    failure_code: str | None = None
    attempts: int = 0
    wakes: int = 0
    key_number: int = 0
    first_sent_at: datetime | None = None
    key_burnt_at: datetime | None = None
    traceparent: str | None = None
    request_id: str | None = None

    @property
    def stripe_key(self) -> str:
        """The idempotency key under which the account is made."""
        return f"account-{self.seller_id}" + (f"-{self.key_number}" if self.key_number else "")


@dataclass(frozen=True, slots=True)
class Seller:
    """A seller with its commission in basis points, and its account once it asked for one."""

    id: UserId
    commission_bps: int
    account: SellerAccount | None = None

    @property
    def onboarding_status(self) -> OnboardingStatus:
        """Where its onboarding stands."""
        return self.account.status if self.account is not None else OnboardingStatus.NOT_STARTED

    def link_at(self, now: datetime) -> str | None:
        """Return the link under which Stripe asks its questions, while it is good."""
        account = self.account
        if account is None or account.link_expires_at is None or account.link_expires_at <= now:
            return None
        return account.link
