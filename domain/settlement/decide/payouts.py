"""The rules of payouts: what an answer from Stripe means for a payout. Pure; no I/O.

As with refunds, an answer may arrive twice, late or out of order: a transfer that is known is booked once,
whatever was believed of it before.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from domain.errors import Refused
from domain.ids import JournalId, uuid7
from domain.ledger.model import Journal, JournalKind
from domain.ledger.postings import post_payout
from domain.payouts.model import PAYOUT_TRANSITIONS, Payout, PayoutStatus, payout_event
from domain.settlement.answers import (
    Absent,
    BankPayout,
    Refusal,
    StripeTransfer,
    Throttled,
    TransferAnswer,
    Unsure,
)
from domain.settlement.decide.situation import retry_delay
from domain.settlement.model import PayoutChange, SettlementPolicy

NOT_MADE = "transfer_not_made"
"""Why a payout failed whose transfer is not in Stripe's list."""


@dataclass(frozen=True, slots=True)
class PayoutSituation:
    """A locked payout."""

    payout: Payout
    now: datetime
    policy: SettlementPolicy

    @property
    def retry_at(self) -> datetime:
        """When to ask again after an answer that decided nothing."""
        return self.now + retry_delay(self.payout.attempts, self.policy)


def decide_payout(situation: PayoutSituation, answer: TransferAnswer) -> PayoutChange:
    """Return what an answer changes. Errors: Refused for a transfer that is not the one we asked for."""
    payout = situation.payout
    if isinstance(answer, StripeTransfer):
        return _found(situation, answer)
    if payout.is_booked or payout.status is PayoutStatus.FAILED:
        return PayoutChange(payout, None)
    match answer:
        case Refusal(failure_code):
            return _fail(situation, failure_code)
        case Unsure():
            return _unsure(situation)
        case Absent():
            return _absent(situation)
        case Throttled(_, retry_after_s):
            asked_for = situation.now + timedelta(seconds=retry_after_s or 0)
            return PayoutChange(payout, max(situation.retry_at, asked_for))


def decide_bank_payout(payout: Payout, bank: BankPayout, now: datetime) -> PayoutChange | None:
    """Return what a payout to the bank changes for one of ours that is in it; None when it is no news.

    One that came back is in a later one, and what becomes of the earlier one is no news then. What failed at the
    bank is at the seller's account at Stripe: nothing is booked, for it is not ours.
    """
    if payout.stripe_payout_id not in {None, bank.stripe_payout_id, *bank.earlier_ids}:
        return None
    moves = bank.status in PAYOUT_TRANSITIONS[payout.status] and payout.is_booked
    status = bank.status if moves else payout.status
    after = replace(payout, status=status, stripe_payout_id=bank.stripe_payout_id)
    if moves:
        after = replace(after, failure_code=bank.failure_code)
    if after == payout:
        return None
    after = replace(after, updated_at=now)
    return PayoutChange(after, None, events=(payout_event(after, now),) if moves else ())


def _found(situation: PayoutSituation, found: StripeTransfer) -> PayoutChange:
    """Book a transfer, unless it is booked. One that had been given up has lost its shares: the seller owes it."""
    before, now = situation.payout, situation.now
    _check_same(before, found)
    if before.is_booked:
        return PayoutChange(before, None)
    holds_shares = before.status is not PayoutStatus.FAILED
    after = replace(
        before,
        status=PayoutStatus.IN_TRANSIT,
        stripe_transfer_id=found.transfer_id,
        failure_code=None,
        updated_at=now,
    )
    carried_minor = before.carried_minor if holds_shares else 0
    journal = Journal(
        id=JournalId(uuid7()),
        kind=JournalKind.PAYOUT,
        source=found.transfer_id,
        payment_id=None,
        currency=before.currency,
        entries=post_payout(before.amount_minor, before.seller_id, carried_minor=carried_minor),
        created_at=now,
    )
    return PayoutChange(after, None, (journal,), (payout_event(after, now),), closes=holds_shares)


def _check_same(payout: Payout, found: StripeTransfer) -> None:
    """Refuse what no rule can book: a person must look at it."""
    if payout.stripe_transfer_id not in {None, found.transfer_id}:
        raise Refused("a second transfer at Stripe for one payout", stripe_transfer_id=found.transfer_id)
    asked = (payout.amount_minor, payout.currency, payout.stripe_account_id)
    if asked != (found.amount_minor, found.currency, found.destination):
        raise Refused("Stripe transferred something else", amount_minor=found.amount_minor)


def _fail(situation: PayoutSituation, failure_code: str) -> PayoutChange:
    now = situation.now
    failed = replace(situation.payout, status=PayoutStatus.FAILED, failure_code=failure_code, updated_at=now)
    return PayoutChange(failed, None, events=(payout_event(failed, now),), lets_go=True)


def _unsure(situation: PayoutSituation) -> PayoutChange:
    """Send nothing again under this key: what became of it is looked up."""
    before, now = situation.payout, situation.now
    unknown = replace(before, status=PayoutStatus.UNKNOWN, key_burnt_at=before.key_burnt_at or now, updated_at=now)
    news = () if before.status is PayoutStatus.UNKNOWN else (payout_event(unknown, now),)
    return PayoutChange(unknown, situation.retry_at, events=news)


def _absent(situation: PayoutSituation) -> PayoutChange:
    """Give a payout up that Stripe does not know, once its transfer has had time to turn up.

    The grace begins when it is settled that the key is not used again: its last use may be a moment ago.
    """
    burnt_at = situation.payout.key_burnt_at
    if burnt_at is None:
        return _unsure(situation)
    if situation.now - burnt_at < timedelta(seconds=situation.policy.lookup_grace_s):
        return PayoutChange(situation.payout, situation.retry_at)
    return _fail(situation, NOT_MADE)
