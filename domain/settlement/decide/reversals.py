"""The rules of taking transfers back: what an answer from Stripe means for a reversal. Pure; no I/O."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from domain.errors import Refused
from domain.events import Event, event
from domain.ids import JournalId, uuid7
from domain.ledger.model import Journal, JournalKind
from domain.ledger.postings import post_payout_reversed
from domain.payouts.model import Payout, Reversal, ReversalStatus
from domain.settlement.answers import Absent, Refusal, ReversalAnswer, StripeReversal, Throttled, Unsure
from domain.settlement.decide.situation import retry_delay
from domain.settlement.model import ReversalChange, SettlementPolicy


@dataclass(frozen=True, slots=True)
class ReversalSituation:
    """A locked reversal with its locked payout."""

    reversal: Reversal
    payout: Payout
    now: datetime
    policy: SettlementPolicy

    @property
    def retry_at(self) -> datetime:
        """When to ask again after an answer that decided nothing."""
        return self.now + retry_delay(self.reversal.attempts, self.policy)


def decide_reversal(situation: ReversalSituation, answer: ReversalAnswer) -> ReversalChange:
    """Return what an answer changes. Errors: Refused for a reversal that is not the one we asked for.

    What Stripe refuses to take back stays what the seller owes, and is made up for by what it earns.
    """
    reversal = situation.reversal
    if isinstance(answer, StripeReversal):
        return _found(situation, answer)
    if reversal.status is not ReversalStatus.PENDING:
        return ReversalChange(reversal, None)
    match answer:
        case Refusal(failure_code):
            return _fail(situation, failure_code)
        case Unsure(_, lookup_only):
            burnt_at = reversal.key_burnt_at or (situation.now if lookup_only else None)
            return ReversalChange(replace(reversal, key_burnt_at=burnt_at), situation.retry_at)
        case Absent():
            return _absent(situation)
        case Throttled(_, retry_after_s):
            asked_for = situation.now + timedelta(seconds=retry_after_s or 0)
            return ReversalChange(reversal, max(situation.retry_at, asked_for))


def _found(situation: ReversalSituation, found: StripeReversal) -> ReversalChange:
    before, now = situation.reversal, situation.now
    if before.status is ReversalStatus.FAILED:
        return ReversalChange(before, None)  # Stripe had refused it: what is found is another one
    _check_same(before, found)
    if before.status is ReversalStatus.SUCCEEDED:
        return ReversalChange(before, None)
    after = replace(
        before,
        status=ReversalStatus.SUCCEEDED,
        stripe_reversal_id=found.stripe_reversal_id,
        updated_at=now,
    )
    journal = Journal(
        id=JournalId(uuid7()),
        kind=JournalKind.PAYOUT_REVERSED,
        source=found.stripe_reversal_id,
        payment_id=before.payment_id,
        currency=before.currency,
        entries=post_payout_reversed(before.amount_minor, situation.payout.seller_id),
        created_at=now,
    )
    return ReversalChange(after, None, (journal,), (_event(after, situation),))


def _check_same(reversal: Reversal, found: StripeReversal) -> None:
    """Refuse what no rule can book: a person must look at it."""
    if reversal.stripe_reversal_id not in {None, found.stripe_reversal_id}:
        raise Refused("a second reversal at Stripe for one of ours", stripe_reversal_id=found.stripe_reversal_id)
    if (reversal.amount_minor, reversal.currency) != (found.amount_minor, found.currency):
        raise Refused("Stripe took back another amount", amount_minor=found.amount_minor, currency=found.currency)


def _fail(situation: ReversalSituation, failure_code: str) -> ReversalChange:
    failed = replace(
        situation.reversal, status=ReversalStatus.FAILED, failure_code=failure_code, updated_at=situation.now
    )
    return ReversalChange(failed, None, events=(_event(failed, situation),))


def _absent(situation: ReversalSituation) -> ReversalChange:
    """Send a reversal under a new key once it had time to turn up in Stripe's list and did not."""
    reversal, now = situation.reversal, situation.now
    if reversal.key_burnt_at is None:
        return ReversalChange(replace(reversal, key_burnt_at=now), situation.retry_at)
    if now - reversal.key_burnt_at < timedelta(seconds=situation.policy.lookup_grace_s):
        return ReversalChange(reversal, situation.retry_at)
    renewed = replace(reversal, key_number=reversal.key_number + 1, first_sent_at=None, key_burnt_at=None)
    return ReversalChange(renewed, now)


def _event(reversal: Reversal, situation: ReversalSituation) -> Event:
    facts = {"failure_code": reversal.failure_code} if reversal.failure_code else {}
    return event(
        f"payout.reversal_{reversal.status}",
        reversal.payout_id,
        situation.now,
        audience=[situation.payout.seller_id],
        reversal_id=reversal.id,
        payment_id=reversal.payment_id,
        amount_minor=reversal.amount_minor,
        currency=reversal.currency,
        **facts,
    )
