"""The rules of settlement: what an answer from Stripe means for a payment. Pure; no I/O.

Every rule is safe against an answer that arrives twice, late or out of order: it looks at where the payment
stands, and a step that its state machine does not have changes nothing.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from domain.errors import Refused
from domain.events import Event, event
from domain.ids import JournalId, RefundId, UserId, uuid7
from domain.ledger.model import Entry, Journal, JournalKind
from domain.ledger.postings import Share, post_charge, post_stripe_fee, post_unapplied_charge
from domain.orders.model import Order, OrderStatus
from domain.payments.model import DEAD, PAYMENT_TRANSITIONS, SETTLED, Payment, PaymentStatus
from domain.settlement.model import (
    Absent,
    Answer,
    Change,
    Intent,
    IntentStatus,
    Refund,
    RefundStatus,
    Refusal,
    SettlementPolicy,
    Throttled,
    Unsure,
)

ACTION_POLL = timedelta(minutes=2)
"""How often an intent that waits for its customer is looked up, in case its webhook is lost."""
CAPTURE_POLL = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Situation:
    """A locked payment with its order, and whether another payment of that order is alive."""

    payment: Payment
    order: Order | None
    order_has_other: bool
    now: datetime
    policy: SettlementPolicy

    @property
    def shares(self) -> Sequence[Share]:
        """What was sold, by line."""
        payment = self.payment
        if self.order is not None:
            return [Share(line.seller_id, line.amount_minor, line.commission_bps) for line in self.order.lines]
        assert payment.seller_id is not None  # noqa: S101 - a CHECK of the table holds it
        assert payment.commission_bps is not None  # noqa: S101 - the same
        return [Share(payment.seller_id, payment.amount_minor, payment.commission_bps)]

    @property
    def parties(self) -> Collection[UserId]:
        """Whom the payment concerns."""
        return self.payment.parties(self.order)

    @property
    def applies(self) -> bool:
        """Whether captured money can pay for what it was meant for.

        A payment that was given up may still pay its pending order, if nobody else is about to. A direct
        payment that was given up does not: its payer has been told so, and may have paid again.
        """
        given_up = self.payment.status in DEAD
        if self.order is None:
            return not given_up
        return self.order.status is OrderStatus.PENDING and not (given_up and self.order_has_other)


def decide(situation: Situation, answer: Answer) -> Change | None:
    """Return what an answer changes, or None when it is no news. Errors: Refused for what cannot be booked."""
    match answer:
        case Intent():
            return _decide_intent(situation, answer)
        case Refusal(failure_code):
            # With an intent known, a refusal is about the question and says nothing of the charge.
            known = situation.payment.stripe_intent_id is not None
            return _again(situation, None) if known else _give_up(situation, failure_code)
        case Unsure():
            return _unsure(situation, answer)
        case Throttled(_, retry_after_s):
            return _again(situation, retry_after_s)
        case Absent():
            return _absent(situation)


def retry_delay(attempts: int, policy: SettlementPolicy) -> timedelta:
    """Return how long to wait after that many attempts: exponential, capped."""
    exponent = min(max(attempts - 1, 0), 16)
    return timedelta(seconds=min(policy.retry_base_s * 2**exponent, policy.retry_cap_s))


def _decide_intent(situation: Situation, intent: Intent) -> Change | None:
    payment = situation.payment
    _check_capture(payment, intent)
    if payment.stripe_intent_id not in {None, intent.intent_id}:
        return None
    match intent.status:
        case IntentStatus.SUCCEEDED:
            return _succeeded(situation, intent)
        case IntentStatus.CANCELED:
            return _give_up(situation, payment.failure_code or intent.failure_code, intent)
        case IntentStatus.REQUIRES_ACTION:
            return _wait(situation, intent, PaymentStatus.REQUIRES_ACTION, ACTION_POLL)
        case IntentStatus.REQUIRES_CAPTURE:
            return _wait(situation, intent, PaymentStatus.REQUIRES_CAPTURE, CAPTURE_POLL)
        case _:
            # A declined intent can still be paid by whoever holds its client secret: it is not failed before
            # it is cancelled. Remember it, and come back to cancel it.
            return _remember(situation, intent)


def _check_capture(payment: Payment, intent: Intent) -> None:
    """Refuse captured money that no rule can book: a person must look at it, and the batch goes on without."""
    if intent.status is not IntentStatus.SUCCEEDED:
        return
    if payment.stripe_intent_id not in {None, intent.intent_id}:
        raise Refused("a second intent of the payment was captured", intent_id=intent.intent_id)
    if intent.currency != payment.currency:
        raise Refused("the intent was captured in another currency", currency=intent.currency)
    if intent.received_minor < 1:
        raise Refused("the intent succeeded without money", received_minor=intent.received_minor)


def _succeeded(situation: Situation, intent: Intent) -> Change | None:
    payment, now = situation.payment, situation.now
    if payment.captured_minor:
        return _late_fee(situation, intent)
    booked = replace(
        payment,
        stripe_intent_id=intent.intent_id,
        stripe_charge_id=intent.charge_id,
        captured_minor=intent.received_minor,
        updated_at=now,
    )
    if not situation.applies:
        return _unapplied(situation, booked, intent)
    booked = replace(booked, status=PaymentStatus.SUCCEEDED, failure_code=None, client_secret=None)
    source = intent.charge_id or intent.intent_id
    charge = _journal(
        JournalKind.CHARGE, source, booked, post_charge(intent.received_minor, situation.shares), now
    )
    booked, fees = _book_fee(situation, booked, intent)
    return Change(
        payment=booked,
        due_at=_fee_due(booked, situation),
        journals=(charge, *fees),
        order=(situation.order.id, OrderStatus.PAID) if situation.order else None,
        events=(
            _payment_event(booked, situation),
            *([_order_paid(situation.order, payment, now)] if situation.order else []),
        ),
    )


def _unapplied(situation: Situation, booked: Payment, intent: Intent) -> Change:
    """Book captured money that pays for nothing, and send it back."""
    now = situation.now
    status = booked.status if booked.status in DEAD else PaymentStatus.CANCELED
    booked = replace(booked, status=status, client_secret=None)
    source = intent.charge_id or intent.intent_id
    journal = _journal(
        JournalKind.UNAPPLIED_CHARGE, source, booked, post_unapplied_charge(intent.received_minor), now
    )
    booked, fees = _book_fee(situation, booked, intent)
    refund = Refund(
        id=RefundId(uuid7()),
        payment_id=booked.id,
        stripe_charge_id=source,
        amount_minor=intent.received_minor,
        currency=booked.currency,
        status=RefundStatus.PENDING,
        reason="late_success",
        created_at=now,
    )
    told = event(
        "payment.captured_late",
        booked.id,
        now,
        audience=situation.parties,
        amount_minor=intent.received_minor,
        refund_id=refund.id,
    )
    return Change(
        payment=booked,
        due_at=_fee_due(booked, situation),
        journals=(journal, *fees),
        refund=refund,
        events=(told,),
    )


def _late_fee(situation: Situation, intent: Intent) -> Change | None:
    """Book the fee of a charge that is booked already; no news when the fee is booked too."""
    payment = situation.payment
    if payment.fee_minor is not None:
        return None
    booked, fees = _book_fee(situation, replace(payment, updated_at=situation.now), intent)
    return Change(payment=booked, due_at=_fee_due(booked, situation), journals=fees)


def _book_fee(situation: Situation, booked: Payment, intent: Intent) -> tuple[Payment, tuple[Journal, ...]]:
    fee = intent.fee
    if fee is None:
        return booked, ()
    booked = replace(booked, fee_minor=fee.fee_minor)
    if not fee.fee_minor:
        return booked, ()
    seller_bears = situation.policy.seller_bears_stripe_fee and booked.status is PaymentStatus.SUCCEEDED
    entries = post_stripe_fee(fee.fee_minor, situation.shares, seller_bears=seller_bears)
    journal = _journal(JournalKind.STRIPE_FEE, fee.balance_transaction_id, booked, entries, situation.now)
    # Stripe takes its fee in the currency that it settles in, which may be another than the payment's.
    return booked, (replace(journal, currency=fee.currency),)


def _fee_due(booked: Payment, situation: Situation) -> datetime | None:
    if booked.fee_minor is not None:
        return None
    return situation.now + retry_delay(booked.attempts, situation.policy)


def _give_up(situation: Situation, failure_code: str | None, intent: Intent | None = None) -> Change | None:
    """Fail the payment, or cancel it where nothing had failed. Its intent, if any, is cancelled at Stripe."""
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
    return Change(payment=given_up, due_at=None, events=(_payment_event(given_up, situation),))


def _wait(situation: Situation, intent: Intent, status: PaymentStatus, poll: timedelta) -> Change | None:
    """Wait for a person: the payer to authenticate, or the seller to capture."""
    payment, now = situation.payment, situation.now
    if payment.status is status:
        return Change(payment=payment, due_at=now + poll)
    if status not in PAYMENT_TRANSITIONS[payment.status]:
        return None
    waiting = replace(
        payment,
        status=status,
        stripe_intent_id=intent.intent_id,
        client_secret=intent.client_secret if status is PaymentStatus.REQUIRES_ACTION else None,
        updated_at=now,
    )
    return Change(payment=waiting, due_at=now + poll, events=(_payment_event(waiting, situation),))


def _remember(situation: Situation, intent: Intent) -> Change | None:
    payment = situation.payment
    if payment.captured_minor or payment.status in DEAD:
        return None
    known = replace(
        payment,
        stripe_intent_id=intent.intent_id,
        failure_code=intent.failure_code or payment.failure_code,
        updated_at=situation.now,
    )
    return Change(payment=known, due_at=situation.now + retry_delay(payment.attempts, situation.policy))


def _unsure(situation: Situation, unsure: Unsure) -> Change | None:
    payment, now = situation.payment, situation.now
    due_at = now + retry_delay(payment.attempts, situation.policy)
    if payment.captured_minor or payment.status in SETTLED:
        return Change(payment=payment, due_at=due_at) if _has_work(payment) else None
    waiting = replace(
        payment,
        status=PaymentStatus.UNKNOWN,
        lookup_only=payment.lookup_only or unsure.lookup_only,
        updated_at=now,
    )
    news = () if payment.status is PaymentStatus.UNKNOWN else (_payment_event(waiting, situation),)
    return Change(payment=waiting, due_at=due_at, events=news)


def _again(situation: Situation, retry_after_s: float | None) -> Change | None:
    if not _has_work(situation.payment):
        return None
    delay = retry_delay(situation.payment.attempts, situation.policy)
    if retry_after_s is not None:
        delay = max(delay, timedelta(seconds=retry_after_s))
    return Change(payment=situation.payment, due_at=situation.now + delay)


def _absent(situation: Situation) -> Change | None:
    """Give a payment up that Stripe does not know, once its intent has had time to turn up.

    The grace begins when it is settled that the key is not used again: the last use may be a moment ago.
    """
    payment = situation.payment
    if payment.stripe_intent_id is not None:
        return _again(situation, None)  # it turned up while the list was read
    if not payment.lookup_only:
        return _unsure(situation, Unsure("absent from Stripe's list", lookup_only=True))
    if situation.now - payment.updated_at < timedelta(seconds=situation.policy.lookup_grace_s):
        return _again(situation, None)
    return _give_up(situation, "charge_not_made")


def _has_work(payment: Payment) -> bool:
    """Whether the payment still waits for something that asking Stripe again can bring."""
    if payment.captured_minor:
        return payment.fee_minor is None
    return payment.status not in DEAD


def _journal(
    kind: JournalKind, source: str, payment: Payment, entries: tuple[Entry, ...], now: datetime
) -> Journal:
    return Journal(
        id=JournalId(uuid7()),
        kind=kind,
        source=source,
        payment_id=payment.id,
        currency=payment.currency,
        entries=entries,
        created_at=now,
    )


def _payment_event(payment: Payment, situation: Situation) -> Event:
    facts = {"failure_code": payment.failure_code} if payment.failure_code else {}
    return event(
        f"payment.{payment.status}",
        payment.id,
        situation.now,
        audience=situation.parties,
        order_id=payment.order_id,
        amount_minor=payment.amount_minor,
        currency=payment.currency,
        **facts,
    )


def _order_paid(order: Order, payment: Payment, now: datetime) -> Event:
    return event("order.paid", order.id, now, audience=order.parties, payment_id=payment.id)
