"""Refunds: money of a payment that goes back to its payer, and the state machine of its way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.errors import Conflict
from domain.fingerprints import fingerprint
from domain.ids import PaymentId, ProductId, RefundId, UserId
from domain.ledger.postings import Part
from domain.payments.model import Payment


class RefundStatus(StrEnum):
    """Where a refund stands."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


# The one table of a refund's legal steps; the database holds the same rows, and a test compares the two. A bank
# may send money back weeks after it was refunded: a success can still fail
# (docs.stripe.com/refunds#failed-refunds).
REFUND_TRANSITIONS: Mapping[RefundStatus, frozenset[RefundStatus]] = {
    RefundStatus.PENDING: frozenset({RefundStatus.SUCCEEDED, RefundStatus.FAILED}),
    RefundStatus.SUCCEEDED: frozenset({RefundStatus.FAILED}),
    RefundStatus.FAILED: frozenset(),
}


class RefundOrigin(StrEnum):
    """Why there is a refund: somebody asked here, money came for nothing, or somebody asked at Stripe."""

    REQUESTED = "requested"
    LATE_SUCCESS = "late_success"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class Refund:
    """Money that goes back to the payer.

    `lines` are the parts of it by line of what was sold; there are none when the payment paid for nothing.
    `is_booked` says that the ledger holds it now. `key_number` counts the Stripe keys that were given up: the
    present one was first used at `first_sent_at`, and is not used again from `key_burnt_at` on. `transaction_id`
    and `failure_transaction_id` are Stripe's movements of the money, once their fees and rates are booked.
    By `traceparent` and `request_id` spans and logs tell which request asked for it.
    """

    id: RefundId
    payment_id: PaymentId
    origin: RefundOrigin
    stripe_charge_id: str
    amount_minor: int
    currency: str
    status: RefundStatus
    reason: str
    created_at: datetime
    updated_at: datetime
    lines: tuple[Part, ...] = ()
    requested_by: UserId | None = None
    idempotency_key: str | None = None
    request_hash: bytes | None = None
    failure_code: str | None = None
    stripe_refund_id: str | None = None
    is_booked: bool = False
    transaction_id: str | None = None
    failure_transaction_id: str | None = None
    attempts: int = 0
    key_number: int = 0
    first_sent_at: datetime | None = None
    key_burnt_at: datetime | None = None
    traceparent: str | None = None
    request_id: str | None = None

    @property
    def stripe_key(self) -> str:
        """The idempotency key under which it is sent to Stripe."""
        return f"refund-{self.id}" + (f"-{self.key_number}" if self.key_number else "")

    def parties(self, payment: Payment) -> frozenset[UserId]:
        """Return whom it concerns: the payer, and the sellers of the lines that it falls on."""
        return frozenset({payment.payer_id, *(line.seller_id for line in self.lines)})


@dataclass(frozen=True, slots=True)
class RefundedLine:
    """What is wanted back of a product's line; all that is left of it where no amount is named."""

    product_id: ProductId
    amount_minor: int | None = None


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """What a caller wants back: of some lines, or an amount over all that it may refund, or all of that."""

    payment_id: PaymentId
    idempotency_key: str
    reason: str
    amount_minor: int | None = None
    lines: Sequence[RefundedLine] = ()
    traceparent: str | None = None
    request_id: str | None = None

    def fingerprint(self) -> bytes:
        """Return the hash by which another payload under the same key is noticed."""
        return fingerprint(
            payment_id=self.payment_id,
            reason=self.reason,
            amount_minor=self.amount_minor,
            lines=[(line.product_id, line.amount_minor) for line in self.lines],
        )


@dataclass(frozen=True, slots=True)
class AcceptedRefund:
    """A refund that is durable, and whether the same request had made it before."""

    refund: Refund
    replayed: bool


class RefundExceedsCaptured(Conflict):
    """More is asked back than was captured and is not refunded yet."""

    code = "refund_exceeds_captured"
