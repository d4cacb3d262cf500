"""What Stripe can answer, whatever the call was."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from domain.disputes.model import DisputeStatus
from domain.ids import PayoutId, RefundId, ReversalId, UserId
from domain.payouts.model import PayoutStatus
from domain.refunds.model import RefundStatus


class IntentStatus(StrEnum):
    """Stripe's own states of a PaymentIntent (docs.stripe.com/payments/paymentintents/lifecycle)."""

    SUCCEEDED = "succeeded"
    REQUIRES_ACTION = "requires_action"
    REQUIRES_CAPTURE = "requires_capture"
    REQUIRES_PAYMENT_METHOD = "requires_payment_method"
    REQUIRES_CONFIRMATION = "requires_confirmation"
    PROCESSING = "processing"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class StripeTransaction:
    """A movement of our balance at Stripe, negative where money left; Stripe takes `fee_minor` besides.

    Both are in `currency`, in which Stripe settles; `exchange_rate` is set if that is not the charge's. What came
    in can be used from `available_on` on. `is_release` says that it takes back what was authorized and not
    captured.
    """

    id: str
    amount_minor: int
    fee_minor: int
    currency: str
    exchange_rate: Decimal | None = None
    available_on: datetime | None = None
    is_release: bool = False


@dataclass(frozen=True, slots=True)
class Intent:
    """The state of a payment's intent at Stripe, from an answer, a webhook or a list."""

    intent_id: str
    status: IntentStatus
    currency: str
    received_minor: int = 0
    charge_id: str | None = None
    client_secret: str | None = None
    failure_code: str | None = None
    transaction: StripeTransaction | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Stripe refused the request for good, and did nothing."""

    failure_code: str


@dataclass(frozen=True, slots=True)
class Unsure:
    """Nobody knows what Stripe did: after a timeout, a cut connection or a 5xx.

    `lookup_only` if the key must not be used again, because Stripe has recorded an error under it.
    """

    reason: str
    lookup_only: bool = False


@dataclass(frozen=True, slots=True)
class Throttled:
    """Stripe did not process the request, or was not asked at all; repeat it, after `retry_after_s` if set."""

    reason: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Absent:
    """Stripe's list has no intent for this payment."""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The charge was cancelled before Stripe was ever asked for it."""


@dataclass(frozen=True, slots=True)
class CaptureRefused:
    """Stripe refused to capture as asked, and the intent is still authorized."""

    failure_code: str


Answer = Intent | Refusal | Unsure | Throttled | Absent | Withdrawn | CaptureRefused


@dataclass(frozen=True, slots=True)
class StripeRefund:
    """The state of a refund at Stripe.

    `refund_id` is ours, where the refund was made by us, and `lines` the number and amount of each line that it
    falls on; both stand in the metadata, which people can edit. `transaction_id` is the balance transaction by
    which the money left, and until it is there, a pending refund has moved nothing; `failure_transaction_id` is
    the one by which it came back. The transactions themselves are there where Stripe was asked for them.
    """

    stripe_refund_id: str
    status: RefundStatus
    amount_minor: int
    currency: str
    charge_id: str
    intent_id: str | None = None
    refund_id: RefundId | None = None
    failure_code: str | None = None
    transaction_id: str | None = None
    failure_transaction_id: str | None = None
    transaction: StripeTransaction | None = None
    failure_transaction: StripeTransaction | None = None
    lines: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class StripeAccount:
    """The state of a connected account at Stripe.

    `payouts_enabled` says that it takes transfers and that Stripe pays out what it holds; `seller_id` is ours,
    where the account was made by us.
    """

    stripe_account_id: str
    payouts_enabled: bool
    seller_id: UserId | None = None


@dataclass(frozen=True, slots=True)
class StripeLink:
    """A link under which Stripe asks a seller its questions; good once, and for some minutes."""

    url: str
    expires_at: datetime


AccountAnswer = StripeAccount | Refusal | Unsure | Throttled | Absent


LinkAnswer = StripeLink | Refusal | Unsure | Throttled


RefundAnswer = StripeRefund | Refusal | Unsure | Throttled | Absent


@dataclass(frozen=True, slots=True)
class StripeDispute:
    """The state of a dispute at Stripe, with all the movements of money so far."""

    stripe_dispute_id: str
    status: DisputeStatus
    amount_minor: int
    currency: str
    reason: str
    charge_id: str
    opened_at: datetime
    evidence_due_at: datetime | None = None
    intent_id: str | None = None
    transactions: tuple[StripeTransaction, ...] = ()


@dataclass(frozen=True, slots=True)
class StripeTransfer:
    """A transfer at Stripe to a seller's account; `payout_id` is ours, where it was made by us."""

    transfer_id: str
    amount_minor: int
    currency: str
    destination: str
    payout_id: PayoutId | None = None


TransferAnswer = StripeTransfer | Refusal | Unsure | Throttled | Absent


@dataclass(frozen=True, slots=True)
class StripeReversal:
    """A reversal at Stripe of a transfer, or of a part of it; `reversal_id` is ours, where it was made by us."""

    stripe_reversal_id: str
    transfer_id: str
    amount_minor: int
    currency: str
    reversal_id: ReversalId | None = None


ReversalAnswer = StripeReversal | Refusal | Unsure | Throttled | Absent


@dataclass(frozen=True, slots=True)
class BankPayout:
    """A payout of Stripe's from a seller's account to its bank, as it is now.

    It took the transfers along, and again what earlier payouts to the bank had not brought there. Its status is
    that of our payouts in it. `payout_ids` are those, where the transfers name them.
    """

    stripe_payout_id: str
    status: PayoutStatus
    failure_code: str | None = None
    transfer_ids: tuple[str, ...] = ()
    earlier_ids: tuple[str, ...] = ()
    payout_ids: tuple[PayoutId, ...] = ()


@dataclass(frozen=True, slots=True)
class OwnPayout:
    """A payout of Stripe's from the platform's own balance to its bank: what left, and what came back of it."""

    stripe_payout_id: str
    transaction: StripeTransaction | None
    returned: StripeTransaction | None = None
