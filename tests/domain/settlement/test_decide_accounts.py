"""What Stripe's answers mean for a seller's account: one is opened, and what it may do is not lost again."""

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.sellers.model import OnboardingStatus, SellerAccount
from domain.settlement.answers import (
    Absent,
    AccountAnswer,
    LinkAnswer,
    Refusal,
    StripeAccount,
    StripeLink,
    Throttled,
    Unsure,
)
from domain.settlement.decide.accounts import AccountSituation, decide_account
from domain.settlement.model import AccountChange, SettlementPolicy
from tests.builders import NOW, a_seller_account

POLICY = SettlementPolicy()
LATER = NOW + timedelta(seconds=1)
SOON = LATER + timedelta(seconds=POLICY.retry_base_s)
LINK = StripeLink("https://stripe.test/1", NOW + timedelta(minutes=5))
PENDING, OPEN = OnboardingStatus.PENDING, OnboardingStatus.OPEN
COMPLETE, FAILED = OnboardingStatus.COMPLETE, OnboardingStatus.FAILED


def decided(account: SellerAccount, answer: AccountAnswer, link: LinkAnswer | None = None) -> AccountChange:
    return decide_account(AccountSituation(account, LATER, POLICY), answer, link)


def found(account: SellerAccount, *, payouts_enabled: bool = False) -> StripeAccount:
    return StripeAccount(
        account.stripe_account_id or f"acct_{account.seller_id}", payouts_enabled, account.seller_id
    )


@pytest.mark.parametrize("status", [OPEN, COMPLETE])
def test_refused_look_at_an_account_that_is_opened_takes_nothing_from_it(status: OnboardingStatus) -> None:
    account = a_seller_account(status=status, stripe_account_id="acct_1", payouts_enabled=True, attempts=1)

    assert decided(account, Refusal("account_invalid")) == AccountChange(account, SOON)


@pytest.mark.parametrize("answer", [Unsure("a recorded 500", lookup_only=True), Absent()])
def test_account_that_is_known_is_not_opened_again(answer: AccountAnswer) -> None:
    account = a_seller_account(stripe_account_id="acct_1", attempts=1)

    assert decided(account, answer) == AccountChange(account, SOON)


def test_account_that_never_turned_up_is_opened_under_a_new_key_after_a_grace() -> None:
    account = a_seller_account(attempts=1, first_sent_at=NOW)

    burnt = decided(account, Absent())
    assert burnt == AccountChange(replace(account, key_burnt_at=LATER), SOON)
    assert decided(burnt.account, Absent()) == AccountChange(burnt.account, SOON)
    over_at = LATER + timedelta(seconds=POLICY.lookup_grace_s)
    renewed = decide_account(AccountSituation(burnt.account, over_at, POLICY), Absent())

    assert renewed == AccountChange(replace(account, key_number=1, first_sent_at=None, key_burnt_at=None), over_at)


def test_key_that_is_given_up_is_given_up_once() -> None:
    """Else the grace, after which the account is opened under another, would never be over."""
    account = a_seller_account(attempts=1, first_sent_at=NOW)

    burnt = decided(account, Unsure("a recorded 500", lookup_only=True))
    again = decided(replace(account, key_burnt_at=NOW), Unsure("a recorded 500", lookup_only=True))

    assert burnt == AccountChange(replace(account, key_burnt_at=LATER), SOON)
    assert again == AccountChange(replace(account, key_burnt_at=NOW), SOON)


def test_account_that_is_found_has_no_use_for_its_key_and_wants_a_link() -> None:
    account = a_seller_account(attempts=3, first_sent_at=NOW, key_burnt_at=NOW)

    asked_meanwhile = decided(account, found(account))
    opened = decided(account, found(account), LINK)

    known = replace(account, stripe_account_id=f"acct_{account.seller_id}", first_sent_at=None, key_burnt_at=None)
    assert asked_meanwhile == AccountChange(known, LATER)
    assert opened.account == replace(
        known, status=OPEN, link=LINK.url, link_expires_at=LINK.expires_at, attempts=0, updated_at=LATER
    )
    assert opened.due_at is None
    assert [news.type for news in opened.events] == ["seller.onboarding_opened"]
    stale = replace(opened.account, attempts=1, updated_at=NOW)
    again = decided(stale, found(stale))
    assert again == AccountChange(replace(stale, attempts=0), None), "the same again is no news"


def test_account_that_stripe_pays_out_has_no_link_and_no_failure() -> None:
    account = a_seller_account(
        status=OPEN,
        stripe_account_id="acct_1",
        link=LINK.url,
        link_expires_at=LINK.expires_at,
        failure_code="an earlier one",
    )

    complete = decided(account, found(account, payouts_enabled=True))
    stopped = decided(complete.account, found(account))

    assert complete.account == replace(
        account,
        status=COMPLETE,
        payouts_enabled=True,
        link=None,
        link_expires_at=None,
        failure_code=None,
        updated_at=LATER,
    )
    assert [news.type for news in complete.events] == ["seller.payouts_enabled"]
    assert (stopped.account.status, stopped.account.payouts_enabled) == (OPEN, False)
    assert [news.type for news in stopped.events] == ["seller.payouts_disabled"]


@pytest.mark.parametrize(("known", "key_number"), [(None, 1), ("acct_1", 0)])
def test_seller_whose_account_is_refused_may_ask_again_under_another_key(
    known: str | None, key_number: int
) -> None:
    account = a_seller_account(stripe_account_id=known, attempts=2, first_sent_at=NOW, key_burnt_at=NOW)

    change = (
        decided(account, found(account), Refusal("country")) if known else decided(account, Refusal("country"))
    )

    assert change.account == replace(
        account,
        status=FAILED,
        failure_code="country",
        attempts=0,
        key_number=key_number,
        first_sent_at=None,
        key_burnt_at=None,
        updated_at=LATER,
    )
    assert change.due_at is None
    assert [(news.type, news.data) for news in change.events] == [
        ("seller.onboarding_failed", {"failure_code": "country"})
    ]


@pytest.mark.parametrize(("retry_after_s", "wait_s"), [(17, 17), (0.1, 1), (None, 1)])
def test_throttling_comes_back_when_stripe_says(retry_after_s: float | None, wait_s: float) -> None:
    account = a_seller_account(attempts=1)

    change = decided(account, Throttled("rate limit", retry_after_s))

    assert change == AccountChange(account, LATER + timedelta(seconds=wait_s))
