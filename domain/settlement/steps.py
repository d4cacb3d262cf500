"""Which question to ask Stripe next. Pure; no I/O."""

from datetime import datetime, timedelta
from enum import StrEnum

from domain.payments.model import DEAD, Payment, PaymentStatus
from domain.payouts.model import Payout, Reversal
from domain.refunds.model import Refund
from domain.sellers.model import SellerAccount
from domain.settlement.model import SettlementPolicy


class Step(StrEnum):
    """A question to Stripe."""

    CHARGE = "charge"
    RETRIEVE = "retrieve"
    CANCEL = "cancel"
    CAPTURE = "capture"
    LOOK_UP = "look_up"
    WITHDRAW = "withdraw"


def next_step(payment: Payment, now: datetime, policy: SettlementPolicy) -> Step:
    """Return the one question that cannot charge twice.

    Once the intent is known it is only read, or captured or cancelled when somebody asked for it, or cancelled
    when its customer stayed away too long or its payment was given up before it turned up. While it is not, the
    same key may be sent again as long as Stripe is sure to remember it; afterwards, or when Stripe recorded an
    error under the key, the intent is searched in Stripe's list. A payment that is to be cancelled is not sent any
    more: the first attempt is withdrawn before it is made, and what became of an earlier one is looked up.
    """
    if payment.stripe_intent_id is not None:
        return _step_of_intent(payment, now, policy)
    if payment.cancel_requested:
        return Step.LOOK_UP if payment.attempts > 1 else Step.WITHDRAW
    started = payment.first_charged_at or now
    if payment.lookup_only or now - started >= timedelta(seconds=policy.stripe_key_lifetime_s):
        return Step.LOOK_UP
    return Step.CHARGE


def _step_of_intent(payment: Payment, now: datetime, policy: SettlementPolicy) -> Step:
    if payment.captured_minor:
        return Step.RETRIEVE
    if payment.status in DEAD:
        return Step.CANCEL
    waits_for_payer = payment.status is PaymentStatus.REQUIRES_ACTION
    waited = now - payment.updated_at
    if payment.cancel_requested or (waits_for_payer and waited >= timedelta(seconds=policy.action_ttl_s)):
        return Step.CANCEL
    if payment.capture_minor is not None and payment.status is PaymentStatus.REQUIRES_CAPTURE:
        return Step.CAPTURE
    return Step.RETRIEVE


class RefundStep(StrEnum):
    """A question to Stripe about a refund."""

    SEND = "send"
    RETRIEVE = "retrieve"
    LOOK_UP = "look_up"


def next_refund_step(refund: Refund, now: datetime, policy: SettlementPolicy) -> RefundStep:
    """Return the one question that cannot refund twice.

    Once Stripe's refund is known it is only read. While it is not, the same key may be sent again as long as
    Stripe is sure to remember it; afterwards, or when Stripe recorded an error under the key, the refund is looked
    up in Stripe's list of the charge's refunds.
    """
    if refund.stripe_refund_id is not None:
        return RefundStep.RETRIEVE
    sent_for = now - (refund.first_sent_at or now)
    if refund.key_burnt_at is not None or sent_for >= timedelta(seconds=policy.stripe_key_lifetime_s):
        return RefundStep.LOOK_UP
    return RefundStep.SEND


class AccountStep(StrEnum):
    """A question to Stripe about a seller's account."""

    OPEN = "open"
    RETRIEVE = "retrieve"
    LOOK_UP = "look_up"


def next_account_step(account: SellerAccount, now: datetime, policy: SettlementPolicy) -> AccountStep:
    """Return the one question that cannot make a second account; the rule is that of refunds."""
    if account.stripe_account_id is not None:
        return AccountStep.RETRIEVE
    sent_for = now - (account.first_sent_at or now)
    if account.key_burnt_at is not None or sent_for >= timedelta(seconds=policy.stripe_key_lifetime_s):
        return AccountStep.LOOK_UP
    return AccountStep.OPEN


class TransferStep(StrEnum):
    """A question to Stripe about a transfer or its reversal."""

    SEND = "send"
    LOOK_UP = "look_up"


def next_transfer_step(row: Payout | Reversal, now: datetime, policy: SettlementPolicy) -> TransferStep:
    """Return the one question that cannot transfer, or take back, twice.

    The same key may be sent again as long as Stripe is sure to remember it; afterwards, or when its outcome is not
    known, what became of it is looked up in Stripe's list.
    """
    sent_for = now - (row.first_sent_at or now)
    if row.key_burnt_at is not None or sent_for >= timedelta(seconds=policy.stripe_key_lifetime_s):
        return TransferStep.LOOK_UP
    return TransferStep.SEND
