"""Which call to Stripe comes next. Pure; no I/O."""

from datetime import datetime, timedelta
from enum import StrEnum

from domain.payments.model import DEAD, Payment, PaymentStatus
from domain.payouts.model import Payout, Reversal
from domain.refunds.model import Refund
from domain.sellers.model import SellerAccount
from domain.settlement.model import SettlementPolicy


class Step(StrEnum):
    """What to do about a payment at Stripe; WITHDRAW asks nothing there."""

    CHARGE = "charge"
    RETRIEVE = "retrieve"
    CANCEL = "cancel"
    CAPTURE = "capture"
    LOOK_UP = "look_up"
    WITHDRAW = "withdraw"


def next_step(payment: Payment, now: datetime, policy: SettlementPolicy) -> Step:
    """Return the one step that cannot charge twice.

    A known intent is never charged again. It is captured or cancelled if somebody asked for that, cancelled if its
    payer stayed away for `action_ttl_s` or its payment was given up, and else only retrieved.

    While the intent is unknown, the charge is sent again under the same key as long as Stripe is sure to remember
    that key (`stripe_key_lifetime_s`). After that, or once Stripe has recorded an error under the key, the intent
    is looked up in Stripe's list.

    A payment that is to be cancelled is not sent any more: a first attempt is withdrawn before it is made, and
    after earlier attempts their intent is looked up.
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
    """What to do about a refund at Stripe."""

    SEND = "send"
    RETRIEVE = "retrieve"
    LOOK_UP = "look_up"


def next_refund_step(refund: Refund, now: datetime, policy: SettlementPolicy) -> RefundStep:
    """Return the one step that cannot refund twice.

    A refund that is known at Stripe is only retrieved. Until then it is sent again under the same key as long as
    Stripe is sure to remember that key; after that, or once Stripe has recorded an error under the key, it is
    looked up in Stripe's list of the charge's refunds.
    """
    if refund.stripe_refund_id is not None:
        return RefundStep.RETRIEVE
    sent_for = now - (refund.first_sent_at or now)
    if refund.key_burnt_at is not None or sent_for >= timedelta(seconds=policy.stripe_key_lifetime_s):
        return RefundStep.LOOK_UP
    return RefundStep.SEND


class AccountStep(StrEnum):
    """What to do about a seller's account at Stripe."""

    OPEN = "open"
    RETRIEVE = "retrieve"
    LOOK_UP = "look_up"


def next_account_step(account: SellerAccount, now: datetime, policy: SettlementPolicy) -> AccountStep:
    """Return the one step that cannot make a second account; the rule is that of refunds."""
    if account.stripe_account_id is not None:
        return AccountStep.RETRIEVE
    sent_for = now - (account.first_sent_at or now)
    if account.key_burnt_at is not None or sent_for >= timedelta(seconds=policy.stripe_key_lifetime_s):
        return AccountStep.LOOK_UP
    return AccountStep.OPEN


class TransferStep(StrEnum):
    """What to do about a transfer, or its reversal, at Stripe."""

    SEND = "send"
    LOOK_UP = "look_up"


def next_transfer_step(row: Payout | Reversal, now: datetime, policy: SettlementPolicy) -> TransferStep:
    """Return the one step that cannot transfer, or reverse, twice.

    It is sent again under the same key as long as Stripe is sure to remember that key; after that, or once the key
    is given up, it is looked up in Stripe's list.
    """
    sent_for = now - (row.first_sent_at or now)
    if row.key_burnt_at is not None or sent_for >= timedelta(seconds=policy.stripe_key_lifetime_s):
        return TransferStep.LOOK_UP
    return TransferStep.SEND
