"""Payments in every state, and every answer from Stripe about their charges."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from domain.ledger.model import Entry, JournalKind
from domain.orders.model import Order
from domain.payments.model import Payment, PaymentStatus
from domain.settlement.answers import (
    Absent,
    Answer,
    CaptureRefused,
    IntentStatus,
    Refusal,
    Throttled,
    Unsure,
    Withdrawn,
)
from domain.settlement.decide.situation import Situation
from domain.settlement.model import PaymentChange, SettlementPolicy
from tests.builders import NOW, a_payment
from tests.stripe_answers import an_intent, succeeded

POLICY = SettlementPolicy()
LATER = NOW + timedelta(seconds=1)

ANSWERS: dict[str, Callable[[Payment], Answer]] = {
    **{str(status): lambda p, status=status: an_intent(status, p) for status in IntentStatus},
    "succeeded": succeeded,
    "refusal": lambda _: Refusal("expired_card"),
    "unsure": lambda _: Unsure("timeout"),
    "recorded": lambda _: Unsure("replayed 500", lookup_only=True),
    "throttled": lambda _: Throttled("rate limit"),
    "absent": lambda _: Absent(),
    "withdrawn": lambda _: Withdrawn(),
    "capture_refused": lambda _: CaptureRefused("amount_too_small"),
}


def in_state(status: PaymentStatus, order: Order | None = None) -> Payment:
    """Return a payment as it is when it stands there."""
    payment = a_payment(order, status=status, attempts=1, first_charged_at=NOW)
    match status:
        case PaymentStatus.PENDING:
            return replace(payment, attempts=0, first_charged_at=None)
        case PaymentStatus.REQUIRES_ACTION:
            return replace(payment, stripe_intent_id="pi_1", client_secret="pi_1_secret")
        case PaymentStatus.REQUIRES_CAPTURE | PaymentStatus.CANCELED:
            return replace(payment, stripe_intent_id="pi_1")
        case PaymentStatus.FAILED:
            return replace(payment, stripe_intent_id="pi_1", failure_code="card_declined")
        case PaymentStatus.SUCCEEDED:
            captured = payment.amount_minor
            return replace(payment, stripe_intent_id="pi_1", captured_minor=captured, fee_minor=88)
        case _:
            return payment


def at(
    payment: Payment,
    order: Order | None = None,
    *,
    other: bool = False,
    now: datetime = LATER,
    policy: SettlementPolicy = POLICY,
) -> Situation:
    return Situation(payment, order, other, now, policy)


def entries(change: PaymentChange | None, kind: JournalKind) -> list[Entry]:
    assert change is not None
    (journal,) = [journal for journal in change.journals if journal.kind is kind]
    return list(journal.entries)
