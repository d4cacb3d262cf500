"""What holds after every step of a schedule, and what at its end."""

from collections.abc import Collection

from domain.ids import PaymentId
from domain.ledger.model import STRIPE_BALANCE
from domain.orders.model import ORDER_TRANSITIONS, OrderStatus
from domain.payments.model import DEAD, PAYMENT_TRANSITIONS, Capture, PaymentStatus
from domain.refunds.model import RefundStatus
from domain.settlement.model import IntentStatus
from tests.domain.fakes import State
from tests.domain.simulation.stripe import FEE_MINOR, SimulatedStripe

_FINAL = DEAD | {PaymentStatus.SUCCEEDED}


def check_step(before: State, after: State) -> None:
    """No state goes backwards, and what is written in the books stays written."""
    for payment_id, payment in before.payments.items():
        then = after.payments[payment_id]
        moved = then.status is not payment.status
        assert not moved or then.status in PAYMENT_TRANSITIONS[payment.status], f"{payment.status} → {then.status}"
        assert then.captured_minor >= payment.captured_minor, "a capture was taken out of the books"
    for order_id, order in before.orders.items():
        status = after.orders[order_id].status
        assert status is order.status or status in ORDER_TRANSITIONS[order.status], f"{order.status} → {status}"
    assert after.journals[: len(before.journals)] == before.journals, "a journal was changed"
    assert after.events[: len(before.events)] == before.events, "an event was changed"
    assert all(sum(entry.amount_minor for entry in journal.entries) == 0 for journal in after.journals)


def check_end(state: State, stripe: SimulatedStripe, promised: Collection[PaymentId]) -> None:
    """All that was promised is final, nobody was charged twice, and the books are Stripe's to the cent."""
    assert not state.quarantined, f"quarantined: {state.quarantined}"
    assert not state.quarantined_refunds, f"quarantined: {state.quarantined_refunds}"
    assert set(promised) <= state.payments.keys(), "a payment that was promised is lost"
    for payment in state.payments.values():
        assert payment.status in _FINAL, f"a payment stays {payment.status}"
    assert all(refund.status is not RefundStatus.PENDING for refund in state.refunds.values())
    _check_charges(state, stripe)
    _check_orders(state)
    balance_minor = sum(
        entry.amount_minor
        for journal in state.journals
        for entry in journal.entries
        if entry.account == STRIPE_BALANCE
    )
    charged = [made for made in stripe.intents if made.received_minor]
    returned_minor = sum(refund.amount_minor for refund in stripe.refunds)
    truth_minor = sum(made.received_minor - FEE_MINOR for made in charged) - returned_minor
    assert balance_minor == truth_minor, f"booked {balance_minor}, at Stripe {truth_minor}"


def _check_charges(state: State, stripe: SimulatedStripe) -> None:
    for payment in state.payments.values():
        made = stripe.of(payment.id)
        assert len(made) <= 1, "a payment has two intents"
        charged_minor = sum(each.received_minor for each in made)
        is_automatic = payment.capture is Capture.AUTOMATIC
        wanted_minor = payment.amount_minor if is_automatic else payment.capture_minor
        assert charged_minor in {0, wanted_minor}, "a payer was charged twice, or for what nobody captured"
        assert payment.captured_minor == charged_minor, "a charge is not booked"
        assert stripe.refunded_minor(payment.id) <= charged_minor, "more went back than came"
        assert payment.refunded_minor == stripe.refunded_minor(payment.id), "a refund is not booked"
        if payment.status in DEAD:
            assert payment.refunded_minor == charged_minor, "money was taken for a payment that was given up"
            assert all(each.status in _OVER for each in made), "an intent that was given up can still be paid"


_OVER = {IntentStatus.CANCELED, IntentStatus.SUCCEEDED}


def _check_orders(state: State) -> None:
    for order in state.orders.values():
        payments = [payment for payment in state.payments.values() if payment.order_id == order.id]
        paid = [payment for payment in payments if payment.status is PaymentStatus.SUCCEEDED]
        kept = [payment for payment in paid if payment.refunded_minor < payment.captured_minor]
        assert len(kept) <= 1, "an order was paid twice"
        assert bool(paid) is (order.status is not OrderStatus.PENDING), "an order does not know that it is paid"
