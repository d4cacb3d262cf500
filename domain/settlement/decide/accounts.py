"""The rules of onboarding: what an answer from Stripe means for a seller's account. Pure; no I/O."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from domain.events import Event, event
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
from domain.settlement.decide.situation import retry_delay
from domain.settlement.model import AccountChange, SettlementPolicy


@dataclass(frozen=True, slots=True)
class AccountSituation:
    """A locked account."""

    account: SellerAccount
    now: datetime
    policy: SettlementPolicy

    @property
    def retry_at(self) -> datetime:
        """When to ask again after an answer that decided nothing."""
        return self.now + retry_delay(self.account.attempts, self.policy)


def decide_account(
    situation: AccountSituation, answer: AccountAnswer, link: LinkAnswer | None = None
) -> AccountChange:
    """Return what an answer changes, and a link where one was asked for."""
    account = situation.account
    match answer:
        case StripeAccount():
            return _found(situation, answer, link)
        case Refusal(failure_code) if account.status is OnboardingStatus.PENDING:
            return _fail(situation, account, failure_code)
        case Unsure(_, lookup_only=True) if account.stripe_account_id is None:
            burnt = replace(account, key_burnt_at=account.key_burnt_at or situation.now)
            return AccountChange(burnt, situation.retry_at)
        case Absent() if account.stripe_account_id is None:
            return _absent(situation)
    return _again(situation, account, answer)


def _found(situation: AccountSituation, found: StripeAccount, link: LinkAnswer | None) -> AccountChange:
    """Write what Stripe says; one that is asked nothing more needs no link."""
    before = situation.account
    known = replace(
        before,
        stripe_account_id=found.stripe_account_id,
        payouts_enabled=found.payouts_enabled,
        first_sent_at=None,
        key_burnt_at=None,
    )
    if found.payouts_enabled:
        complete = replace(
            known, status=OnboardingStatus.COMPLETE, failure_code=None, link=None, link_expires_at=None
        )
        return _settled(situation, complete)
    if before.status is OnboardingStatus.COMPLETE:
        return _settled(situation, replace(known, status=OnboardingStatus.OPEN))
    return (
        _linked(situation, known, link)
        if before.status is OnboardingStatus.PENDING
        else _settled(situation, known)
    )


def _linked(situation: AccountSituation, known: SellerAccount, link: LinkAnswer | None) -> AccountChange:
    match link:
        case StripeLink(url, expires_at):
            opened = replace(known, status=OnboardingStatus.OPEN, link=url, link_expires_at=expires_at)
            return _settled(situation, opened)
        case Refusal(failure_code):
            return _fail(situation, known, failure_code)
        case None:  # it was asked for meanwhile
            return AccountChange(known, situation.now)
    return _again(situation, known, link)


def _settled(situation: AccountSituation, account: SellerAccount) -> AccountChange:
    before = situation.account
    events: list[Event] = []
    if account.payouts_enabled is not before.payouts_enabled:
        events.append(_event("payouts_enabled" if account.payouts_enabled else "payouts_disabled", situation))
    if account.link is not None and account.link != before.link:
        events.append(_event("onboarding_opened", situation))
    if replace(account, attempts=before.attempts) != before:
        account = replace(account, updated_at=situation.now)
    return AccountChange(replace(account, attempts=0), None, tuple(events))


def _fail(situation: AccountSituation, account: SellerAccount, failure_code: str) -> AccountChange:
    failed = replace(
        account,
        status=OnboardingStatus.FAILED,
        failure_code=failure_code,
        attempts=0,
        # The seller may ask again, with other settings of the account: under another key.
        key_number=account.key_number + (account.stripe_account_id is None),
        first_sent_at=None,
        key_burnt_at=None,
        updated_at=situation.now,
    )
    return AccountChange(failed, None, (_event("onboarding_failed", situation, failure_code=failure_code),))


def _absent(situation: AccountSituation) -> AccountChange:
    """Send it under a new key once it had time to turn up in Stripe's list and did not.

    The grace begins when it is settled that the old key is not used again: its last use may be a moment ago.
    """
    account, now = situation.account, situation.now
    if account.key_burnt_at is None:
        return AccountChange(replace(account, key_burnt_at=now), situation.retry_at)
    if now - account.key_burnt_at < timedelta(seconds=situation.policy.lookup_grace_s):
        return AccountChange(account, situation.retry_at)
    renewed = replace(account, key_number=account.key_number + 1, first_sent_at=None, key_burnt_at=None)
    return AccountChange(renewed, now)


def _again(
    situation: AccountSituation, account: SellerAccount, answer: AccountAnswer | LinkAnswer
) -> AccountChange:
    wait_s = answer.retry_after_s if isinstance(answer, Throttled) else None
    asked_for = situation.now + timedelta(seconds=wait_s or 0)
    return AccountChange(account, max(situation.retry_at, asked_for))


def _event(what: str, situation: AccountSituation, **facts: object) -> Event:
    seller_id = situation.account.seller_id
    return event(f"seller.{what}", seller_id, situation.now, audience=[seller_id], **facts)
