"""What holds after every step of a schedule, and what at its end."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from domain.disputes.model import DISPUTE_TRANSITIONS
from domain.ids import PaymentId
from domain.ledger.model import STRIPE_BALANCE, EntryRef
from domain.orders.model import ORDER_TRANSITIONS, OrderStatus
from domain.payments.model import DEAD, PAYMENT_TRANSITIONS, Capture, PaymentStatus
from domain.payouts.model import PAYOUT_TRANSITIONS, REVERSAL_TRANSITIONS, UNDER_WAY, PayoutStatus, ReversalStatus
from domain.refunds.model import RefundStatus
from domain.settlement.answers import IntentStatus
from domain.settlement.model import StripeEventStatus
from tests.domain.fakes import MemoryUnitOfWork, State
from tests.domain.simulation.disputes import SimulatedDisputes
from tests.domain.simulation.stripe import FEE_MINOR, SimulatedStripe
from tests.domain.simulation.transfers import SimulatedTransfers
from tests.event_facts import check_facts

_FINAL = DEAD | {PaymentStatus.SUCCEEDED}


@dataclass(frozen=True, slots=True)
class Truth:
    """What is at Stripe."""

    charges: SimulatedStripe
    transfers: SimulatedTransfers
    disputes: SimulatedDisputes

    @property
    def balance_minor(self) -> int:
        """What all of it comes to."""
        charged = sum(made.received_minor - FEE_MINOR for made in self.charges.intents if made.received_minor)
        refunded = sum(refund.amount_minor for refund in self.charges.refunds)
        return charged - refunded + self.disputes.balance_minor - self.transfers.gone_minor


def check_step(before: State, after: State) -> None:
    """No state goes backwards, and what is written in the books stays written."""
    for payment_id, payment in before.payments.items():
        then = after.payments[payment_id]
        assert then.captured_minor >= payment.captured_minor, "a capture was taken out of the books"
    _check_states(before.payments, after.payments, PAYMENT_TRANSITIONS)
    _check_states(before.orders, after.orders, ORDER_TRANSITIONS)
    _check_states(before.disputes, after.disputes, DISPUTE_TRANSITIONS)
    _check_states(before.payouts, after.payouts, PAYOUT_TRANSITIONS)
    _check_states(before.reversals, after.reversals, REVERSAL_TRANSITIONS)
    assert after.journals[: len(before.journals)] == before.journals, "a journal was changed"
    assert after.events[: len(before.events)] == before.events, "an event was changed"
    posted = after.journals[len(before.journals) :]
    assert all(sum(entry.amount_minor for entry in journal.entries) == 0 for journal in posted)


def _check_states(
    before: Mapping[Any, Any], after: Mapping[Any, Any], transitions: Mapping[Any, Collection[StrEnum]]
) -> None:
    for row_id, row in before.items():
        status = after[row_id].status
        assert status is row.status or status in transitions[row.status], f"{row.status} → {status}"


def check_end(state: State, truth: Truth, promised: Collection[PaymentId]) -> None:
    """All that was promised is final, nobody was charged twice, and the books are Stripe's to the cent."""
    assert not state.quarantined, f"quarantined: {state.quarantined}"
    assert not state.quarantined_refunds, f"quarantined: {state.quarantined_refunds}"
    assert StripeEventStatus.QUARANTINED not in state.stripe_statuses.values()
    assert set(promised) <= state.payments.keys(), "a payment that was promised is lost"
    for payment in state.payments.values():
        assert payment.status in _FINAL, f"a payment stays {payment.status}"
    assert all(refund.status is not RefundStatus.PENDING for refund in state.refunds.values())
    _check_charges(state, truth.charges)
    _check_orders(state)
    _check_transfers(state, truth.transfers)
    _check_disputes(state, truth.disputes)
    check_facts(state.events)
    balance_minor = sum(
        entry.amount_minor
        for journal in state.journals
        for entry in journal.entries
        if entry.account == STRIPE_BALANCE
    )
    assert balance_minor == truth.balance_minor, f"booked {balance_minor}, at Stripe {truth.balance_minor}"


async def check_taken_back(tx: MemoryUnitOfWork, state: State) -> None:
    """What sellers lost was taken back of the transfers that had brought it, as far as they have it.

    Not so where Stripe refused to take back what would have used the transfer up: then the seller's next payout
    makes up for it.
    """
    refused = {each.payout_id for each in state.reversals.values() if each.status is ReversalStatus.FAILED}
    entries = [
        EntryRef(journal.id, line) for journal in state.journals for line in range(1, len(journal.entries) + 1)
    ]
    for debit in await tx.reversal_work.debits_of(entries):
        if debit.payout_id not in refused:
            left_minor = min(debit.amount_minor, debit.left_minor)
            assert not left_minor, f"{left_minor} was not taken back of {debit.payout_id}"


def _check_charges(state: State, stripe: SimulatedStripe) -> None:
    disputed = {dispute.payment_id for dispute in state.disputes.values()}
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
            # What is disputed Stripe does not refund; the bank decides.
            gone = payment.refunded_minor == charged_minor or payment.id in disputed
            assert gone, "money was taken for a payment that was given up"
            assert all(each.status in _OVER for each in made), "an intent that was given up can still be paid"


_OVER = {IntentStatus.CANCELED, IntentStatus.SUCCEEDED}


def _check_orders(state: State) -> None:
    for order in state.orders.values():
        payments = [payment for payment in state.payments.values() if payment.order_id == order.id]
        paid = [payment for payment in payments if payment.status is PaymentStatus.SUCCEEDED]
        kept = [payment for payment in paid if payment.refunded_minor < payment.captured_minor]
        assert len(kept) <= 1, "an order was paid twice"
        assert bool(paid) is (order.status is not OrderStatus.PENDING), "an order does not know that it is paid"


def _check_transfers(state: State, stripe: SimulatedTransfers) -> None:
    """Each transfer and each reversal at Stripe is one of ours, with its amount, and none besides."""
    assert not state.quarantined_payouts, f"quarantined: {state.quarantined_payouts}"
    payouts, reversals = state.payouts.values(), state.reversals.values()
    assert not [payout.id for payout in payouts if payout.status in UNDER_WAY]
    assert not [reversal.id for reversal in reversals if reversal.status is ReversalStatus.PENDING]
    booked = Counter((each.id, each.stripe_transfer_id, each.amount_minor) for each in payouts if each.is_booked)
    made = Counter((each.payout_id, each.transfer_id, each.amount_minor) for each in stripe.transfers)
    assert booked == made, f"booked {booked}, transferred {made}"
    back = Counter(
        (each.id, each.stripe_reversal_id, each.amount_minor)
        for each in reversals
        if each.status is ReversalStatus.SUCCEEDED
    )
    assert back == Counter(
        (each.reversal_id, each.stripe_reversal_id, each.amount_minor) for each in stripe.reversals
    )
    taken = set(state.payout_entries.values())
    for payout in payouts:
        if payout.is_booked:
            assert payout.id in taken, "a payout had been given up, and its shares were paid out twice"
            left_minor = stripe.left_minor(payout.stripe_transfer_id or "")
            assert payout.reversed_minor == payout.amount_minor - left_minor, "a reversal is not counted"
            assert (payout.status is PayoutStatus.REVERSED) is (left_minor == 0), (
                f"{left_minor} left, {payout.status}"
            )


def _check_disputes(state: State, stripe: SimulatedDisputes) -> None:
    """Each dispute stands as it does at Stripe, and all that it moved is booked."""
    known = {each.stripe_dispute_id: (each.status, {*each.transaction_ids}) for each in state.disputes.values()}
    assert known == {each.dispute_id: (each.status, {*each.transaction_ids}) for each in stripe.made}
