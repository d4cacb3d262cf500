"""The rules of charging: what an answer from Stripe means for a payment. Pure; no I/O.

An answer may arrive twice, late or out of order. So every rule looks at the payment's state first, and a step that
`PAYMENT_TRANSITIONS` does not have changes nothing.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from domain.events import event
from domain.payments.model import DEAD, PAYMENT_TRANSITIONS, SETTLED, Payment, PaymentStatus
from domain.settlement.answers import (
    Absent,
    Answer,
    CaptureRefused,
    Intent,
    IntentStatus,
    Refusal,
    Throttled,
    Unsure,
    Withdrawn,
)
from domain.settlement.decide.captured import book_capture, check_capture
from domain.settlement.decide.situation import Situation, payment_event, retry_delay
from domain.settlement.model import PaymentChange

ACTION_POLL = timedelta(minutes=2)
"""How often an intent that waits for its payer is retrieved, in case its webhook is lost."""
CAPTURE_POLL = timedelta(hours=6)
"""The same for an intent that waits for its capture."""


def decide_charge(  # noqa: PLR0911 - a table of answers, one rule each
    situation: Situation, answer: Answer
) -> PaymentChange | None:
    """Return what an answer changes, or None for nothing. Errors: Refused for money that cannot be booked."""
    match answer:
        case Intent():
            return _decide_intent(situation, answer)
        case Refusal(failure_code):
            return _refused(situation, failure_code)
        case Withdrawn():
            return _give_up(situation, None)
        case CaptureRefused(failure_code):
            return _drop_capture(situation, failure_code)
        case Unsure():
            return _unsure(situation, answer)
        case Throttled(_, retry_after_s):
            return _try_again(situation, retry_after_s)
        case Absent():
            return _absent(situation)


def _decide_intent(situation: Situation, intent: Intent) -> PaymentChange | None:
    payment = situation.payment
    check_capture(payment, intent)
    if payment.stripe_intent_id not in {None, intent.intent_id}:
        return None
    if intent.status is IntentStatus.SUCCEEDED:
        return book_capture(situation, intent)
    if payment.status in DEAD:
        return _end_late_intent(situation, intent)
    return _follow_intent(situation, intent)


def _follow_intent(situation: Situation, intent: Intent) -> PaymentChange | None:
    """Bring a live payment to the state of its intent, which has not succeeded."""
    match intent.status:
        case IntentStatus.CANCELED:
            return _give_up(situation, situation.payment.failure_code or intent.failure_code, intent)
        case IntentStatus.REQUIRES_ACTION:
            return _wait(situation, intent, PaymentStatus.REQUIRES_ACTION, ACTION_POLL)
        case IntentStatus.REQUIRES_CAPTURE:
            return _wait(situation, intent, PaymentStatus.REQUIRES_CAPTURE, CAPTURE_POLL)
        case _:
            # Whoever holds the client secret of a declined intent can still pay it. So its payment has not failed
            # until the intent is cancelled: remember it, and come back to cancel it.
            return _remember(situation, intent)


def _give_up(situation: Situation, failure_code: str | None, intent: Intent | None = None) -> PaymentChange | None:
    """Fail the payment, or cancel it where nothing failed. Its intent, if it has one, is cancelled at Stripe."""
    payment, now = situation.payment, situation.now
    status = PaymentStatus.FAILED if failure_code else PaymentStatus.CANCELED
    if payment.captured_minor or status not in PAYMENT_TRANSITIONS[payment.status]:
        return None
    given_up = replace(
        payment,
        status=status,
        failure_code=failure_code,
        client_secret=None,
        stripe_intent_id=intent.intent_id if intent else payment.stripe_intent_id,
        updated_at=now,
    )
    return PaymentChange(payment=given_up, due_at=None, events=(payment_event(given_up, situation),))


def _end_late_intent(situation: Situation, intent: Intent) -> PaymentChange | None:
    """Have an intent cancelled that turns up after its payment was given up.

    It holds the payer's money, or can still be paid. It is remembered, and the payment's next step cancels it; the
    step is repeated with each lease until Stripe says that the intent is over.
    """
    payment = situation.payment
    if payment.captured_minor:
        return None
    known = replace(payment, stripe_intent_id=intent.intent_id)
    if intent.status is IntentStatus.CANCELED:
        return PaymentChange(payment=known, due_at=None)
    return PaymentChange(payment=known, due_at=situation.now) if known != payment else None


def _wait(situation: Situation, intent: Intent, status: PaymentStatus, poll: timedelta) -> PaymentChange | None:
    """Wait for a person: the payer to authenticate, or the seller to capture.

    An earlier decline is forgotten: the payer has tried again since.
    """
    payment, now = replace(situation.payment, failure_code=None), situation.now
    if payment.status is status:
        return PaymentChange(payment=payment, due_at=_due_of_waiting(situation, payment, poll))
    if status not in PAYMENT_TRANSITIONS[payment.status]:
        return None
    waiting = replace(
        payment,
        status=status,
        stripe_intent_id=intent.intent_id,
        client_secret=intent.client_secret if status is PaymentStatus.REQUIRES_ACTION else None,
        updated_at=now,
    )
    due_at = _due_of_waiting(situation, waiting, poll)
    return PaymentChange(payment=waiting, due_at=due_at, events=(payment_event(waiting, situation),))


def _drop_capture(situation: Situation, failure_code: str) -> PaymentChange | None:
    """Forget the capture that was asked for, so that another one may be, and tell that Stripe refused it."""
    payment = situation.payment
    if payment.status is not PaymentStatus.REQUIRES_CAPTURE or payment.capture_minor is None:
        return _try_again(situation, None)
    told = event(
        "payment.capture_failed",
        payment.id,
        situation.now,
        audience=situation.parties,
        amount_minor=payment.capture_minor,
        failure_code=failure_code,
    )
    payment = replace(payment, capture_minor=None)
    return PaymentChange(payment=payment, due_at=situation.now + CAPTURE_POLL, events=(told,), drops_capture=True)


def _due_of_waiting(situation: Situation, waiting: Payment, poll: timedelta) -> datetime:
    """Return when to look again: soon if somebody has decided, and no later than when the payer's time is over."""
    now, policy = situation.now, situation.policy
    if waiting.has_wish:
        return now + retry_delay(waiting.attempts, policy)
    if waiting.status is PaymentStatus.REQUIRES_ACTION:
        over_at = waiting.updated_at + timedelta(seconds=policy.action_ttl_s)
        return max(now, min(now + poll, over_at))
    return now + poll


def _remember(situation: Situation, intent: Intent) -> PaymentChange | None:
    """Keep the id and the failure of an intent that is not over, and look again soon."""
    payment = situation.payment
    if payment.captured_minor:
        return None
    known = replace(
        payment,
        stripe_intent_id=intent.intent_id,
        failure_code=intent.failure_code or payment.failure_code,
        updated_at=situation.now,
    )
    return PaymentChange(payment=known, due_at=situation.now + retry_delay(payment.attempts, situation.policy))


def _unsure(situation: Situation, unsure: Unsure) -> PaymentChange | None:
    """Call the payment unknown, unless its state is known already, and ask again later."""
    payment, now = situation.payment, situation.now
    due_at = now + retry_delay(payment.attempts, situation.policy)
    if payment.captured_minor or payment.status in SETTLED:
        return PaymentChange(payment=payment, due_at=due_at) if _has_work(payment) else None
    if payment.lookup_only and not unsure.lookup_only:
        # A look-up failed. `updated_at` must stay: it says when the key was given up, and so how far the list is
        # read and when `lookup_grace_s` is over.
        return PaymentChange(payment=payment, due_at=due_at)
    waiting = replace(
        payment,
        status=PaymentStatus.UNKNOWN,
        lookup_only=unsure.lookup_only,
        updated_at=now,
    )
    news = () if payment.status is PaymentStatus.UNKNOWN else (payment_event(waiting, situation),)
    return PaymentChange(payment=waiting, due_at=due_at, events=news)


def _refused(situation: Situation, failure_code: str) -> PaymentChange | None:
    """Give the payment up, unless its intent is known: then Stripe refused the question, not the charge."""
    if situation.payment.stripe_intent_id is not None:
        return _try_again(situation, None)
    return _give_up(situation, failure_code)


def _try_again(situation: Situation, retry_after_s: float | None) -> PaymentChange | None:
    """Ask Stripe again later, and not before it asks us to; nothing else changes."""
    if not _has_work(situation.payment):
        return None
    delay = retry_delay(situation.payment.attempts, situation.policy)
    if retry_after_s is not None:
        delay = max(delay, timedelta(seconds=retry_after_s))
    return PaymentChange(payment=situation.payment, due_at=situation.now + delay)


def _absent(situation: Situation) -> PaymentChange | None:
    """Give up a payment that Stripe does not know, once its intent has had `lookup_grace_s` to turn up.

    The grace starts when we stop using the key, which may have been sent a moment before.
    """
    payment = situation.payment
    if payment.stripe_intent_id is not None:
        return _try_again(situation, None)  # it turned up while the list was read
    if not payment.lookup_only:
        return _unsure(situation, Unsure("absent from Stripe's list", lookup_only=True))
    if situation.now - payment.updated_at < timedelta(seconds=situation.policy.lookup_grace_s):
        return _try_again(situation, None)
    return _give_up(situation, None if payment.cancel_requested else "charge_not_made")


def _has_work(payment: Payment) -> bool:
    """Whether Stripe can still tell something new about the payment."""
    if payment.captured_minor:
        return payment.fee_minor is None
    return payment.status not in DEAD
