"""The rules of captured money: it is always booked, whatever has become of what it was meant to pay."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from domain.errors import Refused
from domain.events import Event, event
from domain.ids import RefundId, uuid7
from domain.ledger.model import Entry, Journal, JournalKind
from domain.ledger.postings import post_charge, post_unapplied_charge
from domain.money import decimals_of
from domain.orders.model import Order, OrderStatus, order_event
from domain.payments.model import DEAD, Payment, PaymentStatus
from domain.refunds.model import Refund, RefundOrigin, RefundStatus
from domain.settlement.answers import Intent, IntentStatus, StripeTransaction
from domain.settlement.decide.movements import Movement, book_movement
from domain.settlement.decide.situation import Situation, journal_of, payment_event, retry_delay
from domain.settlement.model import PaymentChange


def check_capture(payment: Payment, intent: Intent) -> None:
    """Refuse captured money that no rule can book: a person must look at it, the batch goes on without it."""
    if intent.status is not IntentStatus.SUCCEEDED:
        return
    if payment.stripe_intent_id not in {None, intent.intent_id}:
        raise Refused("a second intent of the payment was captured", intent_id=intent.intent_id)
    if intent.currency != payment.currency:
        raise Refused("the intent was captured in another currency", currency=intent.currency)
    if intent.received_minor < 1:
        raise Refused("the intent succeeded without money", received_minor=intent.received_minor)


def book_capture(situation: Situation, intent: Intent) -> PaymentChange | None:
    """Book captured money: to what it pays for, or to be sent back; None if it is booked already, with its fee."""
    payment, now = situation.payment, situation.now
    if payment.captured_minor:
        return _late_fee(situation, intent)
    if not situation.applies:
        return _unapplied(situation, intent)
    booked = replace(
        payment,
        stripe_intent_id=intent.intent_id,
        stripe_charge_id=intent.charge_id,
        captured_minor=intent.received_minor,
        fee_minor=_fee_minor(intent),
        funds_available_at=_funds_available_at(intent),
        status=PaymentStatus.SUCCEEDED,
        failure_code=None,
        client_secret=None,
        updated_at=now,
    )
    source = intent.charge_id or intent.intent_id
    entries = post_charge(intent.received_minor, situation.shares)
    charge = journal_of(JournalKind.CHARGE, source, booked, entries, now)
    fees = _fee_journals(situation, booked, intent, entries)
    return PaymentChange(
        payment=booked,
        due_at=_fee_due(booked, situation),
        journals=(charge, *fees),
        paid_order_id=situation.order.id if situation.order else None,
        events=(
            payment_event(booked, situation),
            *([_order_paid(situation.order, payment, now)] if situation.order else []),
        ),
    )


def _unapplied(situation: Situation, intent: Intent) -> PaymentChange:
    """Book captured money that pays for nothing, and refund it."""
    payment, now = situation.payment, situation.now
    booked = replace(
        payment,
        stripe_intent_id=intent.intent_id,
        stripe_charge_id=intent.charge_id,
        captured_minor=intent.received_minor,
        fee_minor=_fee_minor(intent),
        status=payment.status if payment.status in DEAD else PaymentStatus.CANCELED,
        client_secret=None,
        updated_at=now,
    )
    source = intent.charge_id or intent.intent_id
    entries = post_unapplied_charge(intent.received_minor)
    charge = journal_of(JournalKind.UNAPPLIED_CHARGE, source, booked, entries, now)
    fees = _fee_journals(situation, booked, intent, ())
    refund = _refund_all(booked, source, now)
    told = event(
        "payment.captured_late",
        booked.id,
        now,
        audience=situation.parties,
        amount_minor=intent.received_minor,
        refund_id=refund.id,
    )
    return PaymentChange(
        payment=booked,
        due_at=_fee_due(booked, situation),
        journals=(charge, *fees),
        refund=refund,
        events=(told,),
    )


def _refund_all(booked: Payment, charge_id: str, now: datetime) -> Refund:
    return Refund(
        id=RefundId(uuid7()),
        payment_id=booked.id,
        origin=RefundOrigin.LATE_SUCCESS,
        stripe_charge_id=charge_id,
        amount_minor=booked.captured_minor,
        currency=booked.currency,
        status=RefundStatus.PENDING,
        reason=RefundOrigin.LATE_SUCCESS,
        created_at=now,
        updated_at=now,
    )


def _late_fee(situation: Situation, intent: Intent) -> PaymentChange | None:
    """Book the fee of a charge that is booked already; None if the fee is booked too."""
    payment = situation.payment
    if payment.fee_minor is not None:
        return None
    booked = replace(
        payment,
        fee_minor=_fee_minor(intent),
        funds_available_at=_funds_available_at(intent),
        updated_at=situation.now,
    )
    applied = booked.status is PaymentStatus.SUCCEEDED
    entries = post_charge(booked.captured_minor, situation.shares) if applied else ()
    fees = _fee_journals(situation, booked, intent, entries)
    return PaymentChange(payment=booked, due_at=_fee_due(booked, situation), journals=fees)


def _fee_minor(intent: Intent) -> int | None:
    return intent.transaction.fee_minor if intent.transaction is not None else None


def _funds_available_at(intent: Intent) -> datetime | None:
    return intent.transaction.available_on if intent.transaction is not None else None


def _fee_journals(
    situation: Situation, booked: Payment, intent: Intent, entries: Sequence[Entry]
) -> tuple[Journal, ...]:
    """Return the journals of the fee of a charge that is booked by those entries; none while it is unknown."""
    transaction = intent.transaction
    if transaction is None:
        return ()
    _check_exchange(booked, transaction)
    applied = booked.status is PaymentStatus.SUCCEEDED
    movement = Movement(
        payment=booked,
        shares=situation.shares,
        transaction=transaction,
        entries=entries,
        moved_minor=booked.captured_minor,
        fee_kind=JournalKind.STRIPE_FEE,
        seller_bears=situation.policy.seller_bears_stripe_fee and applied,
        now=situation.now,
    )
    return book_movement(movement)


def _check_exchange(booked: Payment, transaction: StripeTransaction) -> None:
    """Refuse an exchange of more than was captured: the sellers would be owed of all that was authorized.

    Of a capture in part Stripe may move the whole authorization in and the rest out again, by another movement
    (docs.stripe.com/reports/reporting-categories). Only the rate tells which of the two was exchanged.
    """
    rate = transaction.exchange_rate
    if rate is None or transaction.currency == booked.currency or booked.captured_minor == booked.amount_minor:
        return
    decimals = decimals_of(transaction.currency) - decimals_of(booked.currency)
    exchanged_minor = transaction.amount_minor / rate.scaleb(decimals)
    if abs(exchanged_minor - booked.amount_minor) < abs(exchanged_minor - booked.captured_minor):
        raise Refused("Stripe has exchanged more than was captured", exchanged_minor=transaction.amount_minor)


def _fee_due(booked: Payment, situation: Situation) -> datetime | None:
    if booked.fee_minor is not None:
        return None
    return situation.now + retry_delay(booked.attempts, situation.policy)


def _order_paid(order: Order, payment: Payment, now: datetime) -> Event:
    reason = "its payment succeeded"
    return order_event(order, OrderStatus.PAID, now, by=payment.payer_id, reason=reason, payment_id=payment.id)
