"""Payments: what a payer promised to pay, and the state machine of its life."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.fingerprints import fingerprint
from domain.identity.model import Principal, Role
from domain.ids import OrderId, PaymentId, UserId
from domain.orders.model import Order


class PaymentStatus(StrEnum):
    """Where a payment stands."""

    PENDING = "pending"
    PROCESSING = "processing"
    REQUIRES_ACTION = "requires_action"
    REQUIRES_CAPTURE = "requires_capture"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


class Capture(StrEnum):
    """Whether the money is taken at once or only reserved."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"


_OUTCOMES = frozenset(
    {
        PaymentStatus.REQUIRES_ACTION,
        PaymentStatus.REQUIRES_CAPTURE,
        PaymentStatus.SUCCEEDED,
        PaymentStatus.FAILED,
        PaymentStatus.CANCELED,
    }
)

# The one table of a payment's legal steps; the database holds the same rows, and a test compares the two.
# From failed and canceled only a late success leads on, if its order can still be paid.
PAYMENT_TRANSITIONS: Mapping[PaymentStatus, frozenset[PaymentStatus]] = {
    PaymentStatus.PENDING: _OUTCOMES | {PaymentStatus.PROCESSING, PaymentStatus.UNKNOWN},
    PaymentStatus.PROCESSING: _OUTCOMES | {PaymentStatus.UNKNOWN},
    PaymentStatus.UNKNOWN: _OUTCOMES,
    PaymentStatus.REQUIRES_ACTION: _OUTCOMES - {PaymentStatus.REQUIRES_ACTION},
    PaymentStatus.REQUIRES_CAPTURE: frozenset(
        {PaymentStatus.SUCCEEDED, PaymentStatus.FAILED, PaymentStatus.CANCELED}
    ),
    PaymentStatus.SUCCEEDED: frozenset(),
    PaymentStatus.FAILED: frozenset({PaymentStatus.SUCCEEDED}),
    PaymentStatus.CANCELED: frozenset({PaymentStatus.SUCCEEDED}),
}

DEAD = frozenset({PaymentStatus.FAILED, PaymentStatus.CANCELED})
"""The payment was given up: another one may pay its order."""

SETTLED = DEAD | {PaymentStatus.SUCCEEDED, PaymentStatus.REQUIRES_ACTION, PaymentStatus.REQUIRES_CAPTURE}
"""Nothing more happens until somebody acts; a client that waits is answered."""

_WAITING = frozenset({PaymentStatus.REQUIRES_ACTION, PaymentStatus.REQUIRES_CAPTURE})


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment: of an order, or a direct one to a seller.

    Money: `captured_minor` is what Stripe took and the ledger holds, even if the payment had been given up before.
    `refunded_minor` of it went back to the payer or is on its way; only the database counts it. `fee_minor` is
    Stripe's fee, and from `funds_available_at` on the money can be used; both are None until Stripe names them.

    Work: `first_charged_at` is when the Stripe key was used first, and `lookup_only` forbids to use it again.
    `capture_minor` is the amount that somebody asked to capture and `cancel_requested` that somebody asked to
    cancel; never both. `traceparent` leads spans to the request that made the payment, `request_id` leads logs to
    that one or to the one that asked last for a capture or a cancellation.
    """

    id: PaymentId
    payer_id: UserId
    order_id: OrderId | None
    seller_id: UserId | None
    amount_minor: int
    currency: str
    commission_bps: int | None
    payment_method: str
    capture: Capture
    status: PaymentStatus
    idempotency_key: str
    request_hash: bytes
    created_at: datetime
    updated_at: datetime
    failure_code: str | None = None
    client_secret: str | None = None
    stripe_intent_id: str | None = None
    stripe_charge_id: str | None = None
    captured_minor: int = 0
    refunded_minor: int = 0
    fee_minor: int | None = None
    funds_available_at: datetime | None = None
    attempts: int = 0
    first_charged_at: datetime | None = None
    lookup_only: bool = False
    capture_minor: int | None = None
    cancel_requested: bool = False
    traceparent: str | None = None
    request_id: str | None = None

    @property
    def has_wish(self) -> bool:
        """Whether it waited for a person, who has asked for its capture or its cancellation."""
        return self.status in _WAITING and (self.cancel_requested or self.capture_minor is not None)

    @property
    def is_settled(self) -> bool:
        """Whether nothing more happens until somebody acts; a client that waits is answered then."""
        return self.status in SETTLED and not self.has_wish

    def parties(self, order: Order | None) -> frozenset[UserId]:
        """Return whom the payment concerns: its payer, and its seller or the sellers of its order."""
        sellers = order.parties if order is not None else {self.seller_id}
        return frozenset(user_id for user_id in (self.payer_id, *sellers) if user_id is not None)


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """What a payer asks for: to pay `order_id`, or to pay `seller_id` an amount in minor units of a currency."""

    payer_id: UserId
    payer_role: Role
    idempotency_key: str
    payment_method: str
    capture: Capture = Capture.AUTOMATIC
    order_id: OrderId | None = None
    seller_id: UserId | None = None
    amount_minor: int | None = None
    currency: str | None = None
    traceparent: str | None = None
    request_id: str | None = None

    def fingerprint(self) -> bytes:
        """Return the hash that tells another payload under the same key."""
        return fingerprint(
            order_id=self.order_id,
            seller_id=self.seller_id,
            amount_minor=self.amount_minor,
            currency=self.currency,
            payment_method=self.payment_method,
            capture=self.capture,
        )


Version = tuple[str, datetime]
"""Names one committed state of a payment: the transaction that wrote it, and when."""


@dataclass(frozen=True, slots=True)
class Glance:
    """What `principal` asks: how a payment stands, unless that is still the version `known`."""

    principal: Principal
    payment_id: PaymentId
    known: Version | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """The answer to a glance: the version of now, and the payment, or None if that version is the known one."""

    payment: Payment | None
    version: Version

    @property
    def news(self) -> Payment:
        """Return the payment. Errors: ValueError where it is the known version, which is not sent again."""
        if self.payment is None:
            raise ValueError("the payment is the known version")
        return self.payment


@dataclass(frozen=True, slots=True)
class AcceptedPayment:
    """A payment that is durable, and whether the same request had made it before."""

    payment: Payment
    replayed: bool
