"""What Stripe answers about payments, refunds, disputes and payouts of ours."""

from dataclasses import replace
from typing import Any

from domain.disputes.model import Dispute, DisputeStatus
from domain.payments.model import Payment
from domain.payouts.model import Payout
from domain.refunds.model import Refund, RefundStatus
from domain.settlement.answers import (
    Intent,
    IntentStatus,
    StripeDispute,
    StripeRefund,
    StripeTransaction,
    StripeTransfer,
)
from tests.builders import NOW


def an_intent(status: IntentStatus, payment: Payment, **changes: Any) -> Intent:
    """Return the payment's intent; where it succeeded, captured in full and still without its fee."""
    captured = status is IntentStatus.SUCCEEDED
    intent = Intent(
        intent_id=payment.stripe_intent_id or f"pi_{payment.id}",
        status=status,
        currency=payment.currency,
        received_minor=payment.amount_minor if captured else 0,
        charge_id=f"ch_{payment.id}" if captured else None,
    )
    return replace(intent, **changes)


def succeeded(payment: Payment, fee_minor: int | None = 88, **changes: Any) -> Intent:
    """Return the payment's intent that succeeded, with Stripe's fee where it is known."""
    intent = an_intent(IntentStatus.SUCCEEDED, payment, **changes)
    if fee_minor is None or intent.transaction is not None:
        return intent
    transaction = StripeTransaction(
        f"txn_{payment.id}", intent.received_minor, fee_minor, payment.currency, available_on=NOW
    )
    return replace(intent, transaction=transaction)


def declined(payment: Payment, failure_code: str = "insufficient_funds") -> Intent:
    return an_intent(IntentStatus.REQUIRES_PAYMENT_METHOD, payment, failure_code=failure_code)


def disputed(
    dispute: Dispute,
    status: DisputeStatus = DisputeStatus.NEEDS_RESPONSE,
    *moves: int,
    fee_minor: int = 1500,
    **changes: Any,
) -> StripeDispute:
    """Return Stripe's report of a dispute, with a movement of money for each amount; withdrawals bear a fee."""
    transactions = tuple(
        StripeTransaction(
            f"txn_{number}_{dispute.stripe_dispute_id}",
            amount_minor,
            fee_minor if amount_minor < 0 else 0,
            dispute.currency,
        )
        for number, amount_minor in enumerate(moves)
    )
    told = StripeDispute(
        stripe_dispute_id=dispute.stripe_dispute_id,
        status=status,
        amount_minor=dispute.amount_minor,
        currency=dispute.currency,
        reason=dispute.reason,
        charge_id=dispute.stripe_charge_id,
        opened_at=dispute.opened_at,
        evidence_due_at=dispute.evidence_due_at,
        transactions=transactions,
    )
    return replace(told, **changes)


def refunded(refund: Refund, status: RefundStatus = RefundStatus.SUCCEEDED, **changes: Any) -> StripeRefund:
    """Return Stripe's refund that was made for one of ours."""
    found = StripeRefund(
        stripe_refund_id=refund.stripe_refund_id or f"re_{refund.id}",
        status=status,
        amount_minor=refund.amount_minor,
        currency=refund.currency,
        charge_id=refund.stripe_charge_id,
        refund_id=refund.id,
        lines=tuple((part.line, part.amount_minor) for part in refund.lines),
    )
    if status is RefundStatus.SUCCEEDED:
        moved = StripeTransaction(f"txn_{refund.id}", -refund.amount_minor, 0, refund.currency)
        found = replace(found, transaction_id=moved.id, transaction=moved)
    return replace(found, **changes)


def transferred(payout: Payout, **changes: Any) -> StripeTransfer:
    """Return Stripe's transfer that was made for one of our payouts."""
    found = StripeTransfer(
        transfer_id=payout.stripe_transfer_id or f"tr_{payout.id}",
        amount_minor=payout.amount_minor,
        currency=payout.currency,
        destination=payout.stripe_account_id,
        payout_id=payout.id,
    )
    return replace(found, **changes)
