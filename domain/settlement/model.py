"""What Stripe's answers change in our books, the inbox of its events, and rows that wait for work."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.disputes.model import Dispute
from domain.events import Event
from domain.ids import OrderId, PaymentId
from domain.ledger.model import Journal
from domain.payments.model import Payment, PaymentStatus
from domain.payouts.model import Payout, Reversal
from domain.refunds.model import Refund
from domain.sellers.model import SellerAccount
from domain.settlement.answers import Answer
from domain.work import Work


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer about one payment, ready to be settled."""

    payment_id: PaymentId
    answer: Answer


@dataclass(frozen=True, slots=True)
class AccountChange:
    """All that an answer changes of a seller's account, in one transaction; `due_at` as in `PaymentChange`."""

    account: SellerAccount
    due_at: datetime | None
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class PaymentChange:
    """All that one outcome changes, in one transaction.

    `due_at` is when to look at the payment again; None for never. `paid_order_id` names the order that it pays
    for, `refund` sends back money that pays for nothing. `drops_capture` when Stripe refuses to capture.
    """

    payment: Payment
    due_at: datetime | None
    journals: tuple[Journal, ...] = ()
    paid_order_id: OrderId | None = None
    refund: Refund | None = None
    events: tuple[Event, ...] = ()
    drops_capture: bool = False


@dataclass(frozen=True, slots=True)
class DisputeChange:
    """All that a report changes of a dispute, in one transaction."""

    dispute: Dispute
    journals: tuple[Journal, ...] = ()
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class RefundChange:
    """All that an answer changes of a refund, in one transaction; `due_at` as in `PaymentChange`."""

    refund: Refund
    due_at: datetime | None
    journals: tuple[Journal, ...] = ()
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class PayoutChange:
    """All that an answer changes of a payout, in one transaction; `due_at` as in `PaymentChange`.

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
    """All that an answer changes of a reversal, in one transaction; `due_at` as in `PaymentChange`."""

    reversal: Reversal
    due_at: datetime | None
    journals: tuple[Journal, ...] = ()
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Returned:
    """How much captured money of a payment went back, by refunds and lost disputes; whether it is disputed."""

    refunded_minor: int = 0
    lost_minor: int = 0
    is_disputed: bool = False


@dataclass(frozen=True, slots=True)
class ChargeReport:
    """Which payment an event is about, and which of Stripe's objects: its intent or its charge."""

    payment_id: PaymentId
    object_id: str


class Arrival(StrEnum):
    """What is to be done about an event that has come."""

    TOLD = "told"
    """Nothing: its payment is booked to the last cent, with its fee, under that object."""
    AWAITED = "awaited"
    """Perhaps nothing: a worker is asking Stripe about its payment now, and the answer will say the same."""
    NEWS = "news"


@dataclass(frozen=True, slots=True)
class StripeEvent:
    """A webhook's event, stored raw under Stripe's id.

    `received_at` is when it came, or when it happened if it never came and was fetched. `report` is set for an
    event about the state of a charge; it is read on receipt and not stored.
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


@dataclass(frozen=True, slots=True)
class AccountPage:
    """A page of Stripe's own list of connected accounts: their ids, the newest first."""

    ids: Sequence[str]
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
    """How many rows of one kind of work are due and held by nobody, and when the oldest of them became due.

    `quarantined` is how many wait for a person instead.
    """

    work: Work
    due: int
    oldest_at: datetime | None
    quarantined: int = 0


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A row that waits for a person: for what reason, since when.

    The database refused what became of it, or it is a refund that failed of money that paid for nothing.

    The reason of an event of Stripe's is in the log of the workers alone; its `status` is the event's type.
    """

    work: Work
    id: str
    status: str
    reason: str | None
    since: datetime


class StuckReason(StrEnum):
    """Why a payment makes no progress; the first of these that is true."""

    QUARANTINED = "quarantined"
    """The database refuses its outcome: a person must look at it."""
    LEASE_OVERDUE = "lease_overdue"
    """Its lease ended without a result; another worker is to take it."""
    UNKNOWN = "unknown"
    """Nobody knows what Stripe did; it is asked or looked up until that is known."""
    OVERDUE = "overdue"
    """It has been due for long, and nobody has taken it."""


@dataclass(frozen=True, slots=True)
class StuckPayment:
    """A payment that makes no progress, why, and since when. `detail` is what the database said, if it refused."""

    id: PaymentId
    status: PaymentStatus
    reason: StuckReason
    since: datetime
    attempts: int
    due_at: datetime | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class WorkState:
    """When a payment is due, and until when a worker or since when the quarantine keeps it."""

    due_at: datetime | None
    locked_until: datetime | None
    quarantined_at: datetime | None


@dataclass(frozen=True, slots=True)
class SettlementPolicy:
    """The settings of charging and settling: times in seconds, and who bears Stripe's fee."""

    seller_bears_stripe_fee: bool = True
    stripe_key_lifetime_s: float = 23 * 3600
    """How long Stripe is sure to remember an idempotency key."""
    lookup_grace_s: float = 120
    """How long an intent may take to turn up in Stripe's list after its key was last used."""
    action_ttl_s: float = 3600
    """How long a payer may take to authenticate."""
    retry_base_s: float = 1
    retry_cap_s: float = 300
    lease_s: float = 60
    republish_after_s: float = 30
