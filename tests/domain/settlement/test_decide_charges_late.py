"""Money that comes for a payment that was given up, or for an order that is paid already."""

from dataclasses import replace

import pytest

from domain.ledger.model import PROCESSING_FEES, STRIPE_BALANCE, UNAPPLIED_CHARGES, Entry, JournalKind
from domain.orders.model import OrderStatus
from domain.payments.model import DEAD, PaymentStatus
from domain.settlement.answers import IntentStatus
from domain.settlement.decide.charges import decide_charge
from tests.builders import an_order
from tests.domain.settlement.charge_situations import LATER, at, entries, in_state
from tests.stripe_answers import an_intent, succeeded


@pytest.mark.parametrize("status", sorted(DEAD))
def test_late_success_pays_an_order_that_is_still_pending(status: PaymentStatus) -> None:
    order = an_order()
    payment = in_state(status, order)

    change = decide_charge(at(payment, order), succeeded(payment))

    assert change is not None
    assert change.payment.status is PaymentStatus.SUCCEEDED
    assert change.payment.failure_code is None
    assert change.paid_order_id == order.id
    assert change.refund is None


@pytest.mark.parametrize("status", sorted(DEAD))
@pytest.mark.parametrize("reason", ["order is paid", "order is cancelled", "order has another", "direct"])
def test_late_success_that_pays_for_nothing_is_booked_and_refunded(status: PaymentStatus, reason: str) -> None:
    statuses = {"order is paid": OrderStatus.PAID, "order is cancelled": OrderStatus.CANCELLED}
    order = None if reason == "direct" else an_order(status=statuses.get(reason, OrderStatus.PENDING))
    payment = in_state(status, order)

    change = decide_charge(at(payment, order, other=reason == "order has another"), succeeded(payment))

    assert change is not None
    assert change.payment.status is status
    assert change.payment.captured_minor == 1999
    assert entries(change, JournalKind.UNAPPLIED_CHARGE) == [
        Entry(STRIPE_BALANCE, 1999),
        Entry(UNAPPLIED_CHARGES, -1999),
    ]
    assert entries(change, JournalKind.STRIPE_FEE) == [Entry(PROCESSING_FEES, 88), Entry(STRIPE_BALANCE, -88)]
    assert change.paid_order_id is None
    assert change.refund is not None
    assert (change.refund.amount_minor, change.refund.stripe_charge_id) == (1999, f"ch_{payment.id}")
    (told,) = change.events
    assert (told.type, told.audience) == ("payment.captured_late", tuple(sorted(payment.parties(order))))
    assert told.data == {"amount_minor": 1999, "refund_id": str(change.refund.id)}


def test_late_success_that_pays_for_nothing_is_booked_once() -> None:
    payment = replace(in_state(PaymentStatus.FAILED), stripe_intent_id=None)

    change = decide_charge(at(payment), succeeded(payment))

    assert change is not None
    booked = change.payment
    assert (booked.stripe_intent_id, booked.stripe_charge_id) == (f"pi_{payment.id}", f"ch_{payment.id}")
    assert (booked.fee_minor, booked.updated_at, change.due_at) == (88, LATER, None)
    assert decide_charge(at(booked), succeeded(payment)) is None


def test_success_for_an_order_that_is_paid_already_is_canceled_and_refunded() -> None:
    order = an_order(status=OrderStatus.PAID)
    payment = in_state(PaymentStatus.REQUIRES_ACTION, order)

    change = decide_charge(at(payment, order), succeeded(payment))

    assert change is not None
    assert change.payment.status is PaymentStatus.CANCELED
    assert change.payment.client_secret is None
    assert change.refund is not None


@pytest.mark.parametrize("status", sorted(DEAD))
@pytest.mark.parametrize("standing", sorted(set(IntentStatus) - {IntentStatus.SUCCEEDED, IntentStatus.CANCELED}))
def test_intent_that_turns_up_late_is_remembered_to_be_let_go(
    status: PaymentStatus, standing: IntentStatus
) -> None:
    payment = replace(in_state(status), stripe_intent_id=None)

    change = decide_charge(at(payment), an_intent(standing, payment))

    assert change is not None
    assert change.payment == replace(payment, stripe_intent_id=f"pi_{payment.id}")
    assert (change.due_at, change.events, change.journals) == (LATER, (), ())
    assert decide_charge(at(change.payment), an_intent(standing, payment)) is None


@pytest.mark.parametrize("status", sorted(DEAD))
def test_intent_that_is_let_go_leaves_nothing_to_do(status: PaymentStatus) -> None:
    payment = replace(in_state(status), stripe_intent_id=None)

    change = decide_charge(at(payment), an_intent(IntentStatus.CANCELED, payment))

    assert change is not None
    assert change.payment == replace(payment, stripe_intent_id=f"pi_{payment.id}")
    assert (change.due_at, change.events) == (None, ())


def test_intent_of_money_that_was_captured_late_is_left_alone() -> None:
    payment = replace(in_state(PaymentStatus.FAILED), captured_minor=1999)

    assert decide_charge(at(payment), an_intent(IntentStatus.REQUIRES_CAPTURE, payment)) is None
    assert decide_charge(at(payment), an_intent(IntentStatus.CANCELED, payment)) is None
