"""What Stripe can say of a charge, and what follows for our books."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from domain.disputes.model import Dispute, DisputeStatus
from domain.events import Event
from domain.ids import OrderId, PaymentId, PayoutId, RefundId, ReversalId, UserId
from domain.ledger.model import Journal
from domain.orders.model import OrderStatus
from domain.payments.model import Payment, PaymentStatus
from domain.payments.ports import Work
from domain.payouts.model import Payout, PayoutStatus, Reversal
from domain.refunds.model import Refund, RefundStatus
from domain.sellers.model import SellerAccount


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
    """A movement of our balance at Stripe: below zero it took money. The fee was taken beside it.

    Both are in the currency in which Stripe settles; the rate is there where it is not the one of the charge. What
    came in can be used from `available_on` on.
    """

    id: str
    amount_minor: int
    fee_minor: int
    currency: str
    exchange_rate: Decimal | None = None
    available_on: datetime | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    """The state of a payment's intent at Stripe, from whatever source."""

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
    """Stripe refuses the request for good and made no intent."""

    failure_code: str


@dataclass(frozen=True, slots=True)
class Unsure:
    """Nobody knows what Stripe did: a timeout, a cut connection, a 5xx.

    `lookup_only` when the key must not be used again, because Stripe recorded an error under it.
    """

    reason: str
    lookup_only: bool = False


@dataclass(frozen=True, slots=True)
class Throttled:
    """Stripe did not process the request and asks to come back."""

    reason: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Absent:
    """Stripe's list has no intent for this payment."""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """It was never asked of Stripe, and nobody wants it any more."""


@dataclass(frozen=True, slots=True)
class CaptureRefused:
    """Stripe refuses to capture as asked, and the intent is authorized as before."""

    failure_code: str


Answer = Intent | Refusal | Unsure | Throttled | Absent | Withdrawn | CaptureRefused


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer about one payment, ready to be settled."""

    payment_id: PaymentId
    answer: Answer


@dataclass(frozen=True, slots=True)
class StripeRefund:
    """The state of a refund at Stripe.

    `refund_id` is ours, where the refund was made by us. `transaction_id` is the balance transaction by which the
    money left, and until it is there, a pending refund has moved nothing; `failure_transaction_id` is the one by
    which it came back. The transactions themselves are there where Stripe was asked for them.
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


@dataclass(frozen=True, slots=True)
class AccountChange:
    """All that an answer changes of a seller's account, in one transaction; `due_at` as in `Change`."""

    account: SellerAccount
    due_at: datetime | None
    events: tuple[Event, ...] = ()


RefundAnswer = StripeRefund | Refusal | Unsure | Throttled | Absent


@dataclass(frozen=True, slots=True)
class Change:
    """All that one outcome changes, in one transaction.

    `due_at` is when the payment wants to be looked at again, None when never. `drops_wish` when its capture is not
    asked for any more.
    """

    payment: Payment
    due_at: datetime | None
    journals: tuple[Journal, ...] = ()
    order: tuple[OrderId, OrderStatus] | None = None
    refund: Refund | None = None
    events: tuple[Event, ...] = ()
    drops_wish: bool = False


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
class DisputeChange:
    """All that a report changes of a dispute, in one transaction."""

    dispute: Dispute
    journals: tuple[Journal, ...] = ()
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class RefundChange:
    """All that an answer changes of a refund, in one transaction; `due_at` as in `Change`."""

    refund: Refund
    due_at: datetime | None
    journals: tuple[Journal, ...] = ()
    events: tuple[Event, ...] = ()


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
    that of our payouts in it.
    """

    stripe_payout_id: str
    status: PayoutStatus
    failure_code: str | None = None
    transfer_ids: tuple[str, ...] = ()
    earlier_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OwnPayout:
    """A payout of Stripe's from the platform's own balance to its bank: what left, and what came back of it."""

    stripe_payout_id: str
    transaction: StripeTransaction | None
    returned: StripeTransaction | None = None


@dataclass(frozen=True, slots=True)
class PayoutChange:
    """All that an answer changes of a payout, in one transaction; `due_at` as in `Change`.

    `closes` when the first entry of the first journal closes the entries that the payout takes, `lets_go` when
    others may take them.
    """

    payout: Payout
    due_at: datetime | None
    journals: tuple[Journal, ...] = ()
    events: tuple[Event, ...] = ()
    closes: bool = False
    lets_go: bool = False


@dataclass(frozen=True, slots=True)
class ReversalChange:
    """All that an answer changes of a reversal, in one transaction; `due_at` as in `Change`."""

    reversal: Reversal
    due_at: datetime | None
    journals: tuple[Journal, ...] = ()
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Returned:
    """What of a payment's captured money went back, by refunds and by lost disputes, and if it is disputed now."""

    refunded_minor: int = 0
    lost_minor: int = 0
    is_disputed: bool = False


@dataclass(frozen=True, slots=True)
class ChargeReport:
    """Of which payment an event tells, and of which of Stripe's objects: its intent or its charge."""

    payment_id: PaymentId
    object_id: str


class Arrival(StrEnum):
    """What is to do about an event that has come."""

    TOLD = "told"
    """Nothing: it reports on a payment that is booked to the last cent, fee and all, under that object."""
    AWAITED = "awaited"
    """Perhaps nothing: a worker asks Stripe about its payment at this moment, and the answer tells the same."""
    NEWS = "news"


@dataclass(frozen=True, slots=True)
class StripeEvent:
    """A webhook's event, stored raw under Stripe's id.

    `received_at` is when it came; of one that was fetched because it never came, when it happened. `report` is
    what its receiver has read of an event that tells how a charge stands; it is not stored.
    """

    id: str
    type: str
    body: str
    received_at: datetime
    attempts: int = 0
    report: ChargeReport | None = None


@dataclass(frozen=True, slots=True)
class EventWindow:
    """Events of a span of time, the end excluded; of one type, or of those that begin like `charge.*`."""

    since: datetime
    until: datetime
    type: str | None = None


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of Stripe's own list of events, the newest first."""

    events: Sequence[StripeEvent]
    has_more: bool


class StripeEventStatus(StrEnum):
    """What became of a stored event."""

    RECEIVED = "received"
    PROCESSED = "processed"
    IGNORED = "ignored"
    UNMATCHED = "unmatched"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class Backlog:
    """The rows of one kind of work that are due and that nobody holds, and since when the oldest of them is."""

    work: Work
    due: int
    oldest_at: datetime | None


class StuckReason(StrEnum):
    """Why a payment does not get on; of several the first."""

    QUARANTINED = "quarantined"
    """The database refuses its outcome: a person must look."""
    LEASE_OVERDUE = "lease_overdue"
    """A worker took it and did not come back in time; another one is to take it."""
    UNKNOWN = "unknown"
    """Nobody knows what Stripe did; it is looked up until that is known."""
    OVERDUE = "overdue"
    """It is due for long and nobody has taken it."""


@dataclass(frozen=True, slots=True)
class StuckPayment:
    """A payment that does not get on, why, and since when. `detail` is what the database said, where it did."""

    id: PaymentId
    status: PaymentStatus
    reason: StuckReason
    since: datetime
    attempts: int
    due_at: datetime | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class WorkState:
    """Where a payment stands as a row that waits for work."""

    due_at: datetime | None
    locked_until: datetime | None
    quarantined_at: datetime | None


@dataclass(frozen=True, slots=True)
class SettlementPolicy:
    """The settings of charging and settling, in seconds."""

    seller_bears_stripe_fee: bool = True
    stripe_key_lifetime_s: float = 23 * 3600
    lookup_grace_s: float = 120
    action_ttl_s: float = 3600
    retry_base_s: float = 1
    retry_cap_s: float = 300
    lease_s: float = 60
    republish_after_s: float = 30
