"""The rules of refunding: what an answer from Stripe means for a refund. Pure; no I/O.

As with charges, an answer may arrive twice, late or out of order: a refund that failed stays failed, and what is
booked is booked once.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from domain.errors import Refused
from domain.events import Event, event
from domain.ids import JournalId, uuid7
from domain.ledger.model import STRIPE_BALANCE, Entry, Journal, JournalKind
from domain.ledger.postings import post_refund, post_unapplied_refund, undo
from domain.orders.model import Order
from domain.payments.model import Payment
from domain.payments.shares import shares_of
from domain.refunds.model import REFUND_TRANSITIONS, Refund, RefundStatus
from domain.settlement.answers import (
    Absent,
    RefundAnswer,
    Refusal,
    StripeRefund,
    StripeTransaction,
    Throttled,
    Unsure,
)
from domain.settlement.decide.movements import Movement, book_movement
from domain.settlement.decide.situation import retry_delay
from domain.settlement.model import RefundChange, SettlementPolicy

PENDING_POLL = timedelta(hours=1)
"""How often a refund that Stripe has under way is looked at, in case its webhook is lost; banks take days."""
_QUICK_LOOKS = 10


@dataclass(frozen=True, slots=True)
class RefundSituation:
    """A locked refund with its payment and, where there is one, its order."""

    refund: Refund
    payment: Payment
    order: Order | None
    now: datetime
    policy: SettlementPolicy

    @property
    def retry_at(self) -> datetime:
        """When to ask again after an answer that decided nothing."""
        return self.now + retry_delay(self.refund.attempts, self.policy)


def decide_refund(situation: RefundSituation, answer: RefundAnswer) -> RefundChange:
    """Return what an answer changes. Errors: Refused for a refund at Stripe that is not the one we asked for."""
    if isinstance(answer, StripeRefund):
        return _found(situation, answer)
    if situation.refund.stripe_refund_id is None:
        if situation.refund.status is not RefundStatus.PENDING:
            return RefundChange(situation.refund, None)
        match answer:
            case Refusal(failure_code):
                return _fail(situation, failure_code)
            case Unsure(_, lookup_only=True):
                burnt = replace(situation.refund, key_burnt_at=situation.refund.key_burnt_at or situation.now)
                return RefundChange(burnt, situation.retry_at)
            case Absent():
                return _absent(situation)
    return _again(situation, answer)


def _again(situation: RefundSituation, answer: RefundAnswer) -> RefundChange:
    wait_s = answer.retry_after_s if isinstance(answer, Throttled) else None
    asked_for = situation.now + timedelta(seconds=wait_s or 0)
    return RefundChange(situation.refund, max(situation.retry_at, asked_for))


def _fail(situation: RefundSituation, failure_code: str) -> RefundChange:
    failed = replace(
        situation.refund, status=RefundStatus.FAILED, failure_code=failure_code, updated_at=situation.now
    )
    return RefundChange(failed, None, events=(_event(failed, situation),))


def _found(situation: RefundSituation, found: StripeRefund) -> RefundChange:
    before, now = situation.refund, situation.now
    if before.status is RefundStatus.FAILED and before.stripe_refund_id is None:
        return RefundChange(before, None)  # Stripe had refused it: what is found is another one
    _check_same(before, found)
    status = found.status if found.status in REFUND_TRANSITIONS[before.status] else before.status
    after = replace(
        before,
        status=status,
        stripe_refund_id=found.stripe_refund_id,
        failure_code=(found.failure_code or before.failure_code) if status is RefundStatus.FAILED else None,
    )
    journals = []
    moved = found.status is RefundStatus.SUCCEEDED or found.transaction_id is not None
    if moved and not before.is_booked and before.status is not RefundStatus.FAILED:
        journals.append(_journal(JournalKind.REFUND, after, _entries(after), now))
        after = replace(after, is_booked=True)
    if status is RefundStatus.FAILED and after.is_booked:
        journals.append(_journal(JournalKind.REFUND_FAILED, after, undo(_entries(after)), now))
        after = replace(after, is_booked=False)
    after, moves = _movements(situation, after, found)
    if after != before:
        after = replace(after, updated_at=now)
    events = (_event(after, situation),) if status is not before.status else ()
    return RefundChange(after, _look_again_at(situation, after, found), (*journals, *moves), events)


def _movements(
    situation: RefundSituation, refund: Refund, found: StripeRefund
) -> tuple[Refund, tuple[Journal, ...]]:
    """Book the fees and the exchange of Stripe's movements, when they are first seen."""
    journals: tuple[Journal, ...] = ()
    if found.transaction is not None and refund.transaction_id is None:
        journals += _movement(situation, found.transaction, _entries(refund))
        refund = replace(refund, transaction_id=found.transaction.id)
    if found.failure_transaction is not None and refund.failure_transaction_id is None:
        journals += _movement(situation, found.failure_transaction, undo(_entries(refund)))
        refund = replace(refund, failure_transaction_id=found.failure_transaction.id)
    return refund, journals


def _movement(
    situation: RefundSituation, transaction: StripeTransaction, entries: tuple[Entry, ...]
) -> tuple[Journal, ...]:
    applied = bool(situation.refund.lines)
    return book_movement(
        Movement(
            payment=situation.payment,
            shares=shares_of(situation.payment, situation.order),
            transaction=transaction,
            entries=entries,
            moved_minor=sum(entry.amount_minor for entry in entries if entry.account == STRIPE_BALANCE),
            fee_kind=JournalKind.REFUND_FEE,
            seller_bears=situation.policy.seller_bears_stripe_fee and applied,
            now=situation.now,
        )
    )


def _check_same(refund: Refund, found: StripeRefund) -> None:
    """Refuse what no rule can book: a person must look at it."""
    if refund.stripe_refund_id not in {None, found.stripe_refund_id}:
        raise Refused("a second refund at Stripe for one of ours", stripe_refund_id=found.stripe_refund_id)
    if (refund.amount_minor, refund.currency) != (found.amount_minor, found.currency):
        raise Refused("Stripe refunded another amount", amount_minor=found.amount_minor, currency=found.currency)


def _look_again_at(situation: RefundSituation, refund: Refund, found: StripeRefund) -> datetime | None:
    moved = refund.status is RefundStatus.SUCCEEDED or found.transaction_id is not None
    lacks_movement = (moved and refund.transaction_id is None) or (
        found.failure_transaction_id is not None and refund.failure_transaction_id is None
    )
    if refund.status is not RefundStatus.PENDING and not lacks_movement:
        return None
    return situation.retry_at if refund.attempts <= _QUICK_LOOKS else situation.now + PENDING_POLL


def _absent(situation: RefundSituation) -> RefundChange:
    """Send a refund under a new key once it had time to turn up in Stripe's list and did not.

    The grace begins when it is settled that the old key is not used again: its last use may be a moment ago.
    """
    refund, now = situation.refund, situation.now
    if refund.key_burnt_at is None:
        return RefundChange(replace(refund, key_burnt_at=now), situation.retry_at)
    if now - refund.key_burnt_at < timedelta(seconds=situation.policy.lookup_grace_s):
        return RefundChange(refund, situation.retry_at)
    renewed = replace(refund, key_number=refund.key_number + 1, first_sent_at=None, key_burnt_at=None)
    return RefundChange(renewed, now)


def _entries(refund: Refund) -> tuple[Entry, ...]:
    return post_refund(refund.lines) if refund.lines else post_unapplied_refund(refund.amount_minor)


def _journal(kind: JournalKind, refund: Refund, entries: tuple[Entry, ...], now: datetime) -> Journal:
    return Journal(
        id=JournalId(uuid7()),
        kind=kind if refund.lines or kind is JournalKind.REFUND_FAILED else JournalKind.UNAPPLIED_REFUND,
        source=refund.stripe_refund_id or str(refund.id),
        payment_id=refund.payment_id,
        currency=refund.currency,
        entries=entries,
        created_at=now,
    )


def _event(refund: Refund, situation: RefundSituation) -> Event:
    facts = {"failure_code": refund.failure_code} if refund.failure_code else {}
    return event(
        f"refund.{refund.status}",
        refund.payment_id,
        situation.now,
        audience=refund.parties(situation.payment),
        refund_id=refund.id,
        amount_minor=refund.amount_minor,
        currency=refund.currency,
        **facts,
    )
