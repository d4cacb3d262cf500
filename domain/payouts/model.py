"""Payouts: what a seller is owed, sent to its account at Stripe and from there to its bank."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.events import Event, event
from domain.fingerprints import fingerprint
from domain.ids import JournalId, PaymentId, PayoutId, ReversalId, UserId
from domain.money import movable


class PayoutStatus(StrEnum):
    """Where a payout stands.

    `in_transit` is at the seller's account at Stripe, `paid` at its bank. `failed` either never left, and its
    shares can be paid out again, or came back from the bank to the seller's account at Stripe, which tries again;
    `stripe_transfer_id` tells the two apart. `reversed` was taken back whole.
    """

    PENDING = "pending"
    PROCESSING = "processing"
    UNKNOWN = "unknown"
    IN_TRANSIT = "in_transit"
    PAID = "paid"
    FAILED = "failed"
    REVERSED = "reversed"


# The one table of a payout's legal steps; the database holds the same rows, and a test compares the two. A bank
# may send back what had looked paid (docs.stripe.com/payouts#payout-failures), and a transfer that had been given
# up may turn up.
PAYOUT_TRANSITIONS: Mapping[PayoutStatus, frozenset[PayoutStatus]] = {
    PayoutStatus.PENDING: frozenset(
        {PayoutStatus.PROCESSING, PayoutStatus.UNKNOWN, PayoutStatus.IN_TRANSIT, PayoutStatus.FAILED}
    ),
    PayoutStatus.PROCESSING: frozenset({PayoutStatus.UNKNOWN, PayoutStatus.IN_TRANSIT, PayoutStatus.FAILED}),
    PayoutStatus.UNKNOWN: frozenset({PayoutStatus.IN_TRANSIT, PayoutStatus.FAILED}),
    PayoutStatus.IN_TRANSIT: frozenset({PayoutStatus.PAID, PayoutStatus.FAILED, PayoutStatus.REVERSED}),
    PayoutStatus.PAID: frozenset({PayoutStatus.FAILED, PayoutStatus.REVERSED}),
    PayoutStatus.FAILED: frozenset({PayoutStatus.IN_TRANSIT, PayoutStatus.PAID, PayoutStatus.REVERSED}),
    PayoutStatus.REVERSED: frozenset(),
}


UNDER_WAY = frozenset({PayoutStatus.PENDING, PayoutStatus.PROCESSING, PayoutStatus.UNKNOWN})
"""States in which nobody knows yet what becomes of its transfer."""


class PayoutOrigin(StrEnum):
    """Why there is a payout: its seller asked for it, or its time had come."""

    REQUESTED = "requested"
    SCHEDULED = "scheduled"


@dataclass(frozen=True, slots=True)
class Payout:
    """Money of a seller on its way to it: one transfer at Stripe.

    Its amount is the sum of the ledger's entries that it takes, each of which no other payout takes, less
    `carried_minor`, which Stripe does not move in that currency and which is owed on. `reversed_minor` of it was
    taken back or is about to be; the database alone counts it. A transfer that is known is booked. Its Stripe key
    was first used at `first_sent_at`, and is not used again from `key_burnt_at` on. `stripe_payout_id` is the
    payout to the bank that took it along. By `traceparent` and `request_id` spans and logs tell which request
    asked for it, where one did.
    """

    id: PayoutId
    seller_id: UserId
    stripe_account_id: str
    amount_minor: int
    currency: str
    status: PayoutStatus
    origin: PayoutOrigin
    created_at: datetime
    updated_at: datetime
    requested_by: UserId | None = None
    idempotency_key: str | None = None
    request_hash: bytes | None = None
    failure_code: str | None = None
    stripe_transfer_id: str | None = None
    stripe_payout_id: str | None = None
    carried_minor: int = 0
    reversed_minor: int = 0
    attempts: int = 0
    first_sent_at: datetime | None = None
    key_burnt_at: datetime | None = None
    run_at: datetime | None = None
    traceparent: str | None = None
    request_id: str | None = None

    @property
    def stripe_key(self) -> str:
        """The idempotency key under which it is sent to Stripe."""
        return f"payout-{self.id}"

    @property
    def is_booked(self) -> bool:
        """Whether the ledger holds its transfer."""
        return self.stripe_transfer_id is not None


@dataclass(frozen=True, slots=True)
class RunLease:
    """A scheduled run, in the hands of one process until `locked_until`.

    `run_at` is when its interval began. The sellers up to `after` are paid out, by id.
    """

    run_at: datetime
    locked_until: datetime
    after: UserId | None = None


@dataclass(frozen=True, slots=True)
class Destination:
    """A seller's account at Stripe, and whether Stripe sends its money to a bank."""

    seller_id: UserId
    stripe_account_id: str
    payouts_enabled: bool


@dataclass(frozen=True, slots=True)
class Release:
    """When a share counts as available: what Stripe has let go by `now`, and has been held long enough.

    A share of an order is held until the order completes, that of a direct payment until `direct_before`, if it
    was made by then.
    """

    now: datetime
    direct_before: datetime


@dataclass(frozen=True, slots=True)
class SellerBalance:
    """What a seller is owed in one currency, in minor units.

    `pending` is held, `available` can be paid out or is owed by the seller where it is below zero, `in_payout` is
    on its way; the three add up to the ledger's `seller_payable`. `in_dispute` is held besides, until disputes are
    decided.
    """

    currency: str
    pending_minor: int
    available_minor: int
    in_payout_minor: int
    in_dispute_minor: int


@dataclass(frozen=True, slots=True)
class PayoutRequest:
    """What a seller asks for: all that is available to it in one currency.

    Without one it is the only one in which enough is available.
    """

    idempotency_key: str
    currency: str | None
    traceparent: str | None = None
    request_id: str | None = None

    def fingerprint(self) -> bytes:
        """Return the hash by which another payload under the same key is noticed."""
        return fingerprint(currency=self.currency)


@dataclass(frozen=True, slots=True)
class AcceptedPayout:
    """A payout that is durable, and whether the same request had made it before."""

    payout: Payout
    replayed: bool


class ReversalStatus(StrEnum):
    """Where a reversal stands."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


REVERSAL_TRANSITIONS: Mapping[ReversalStatus, frozenset[ReversalStatus]] = {
    ReversalStatus.PENDING: frozenset({ReversalStatus.SUCCEEDED, ReversalStatus.FAILED}),
    ReversalStatus.SUCCEEDED: frozenset(),
    ReversalStatus.FAILED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class PaidDebit:
    """A seller's part of a refund or of a dispute whose charge a booked payout has paid out.

    `journal_id` and `line` name its entry in the ledger; `left_minor` of the payout are not taken back yet.
    """

    journal_id: JournalId
    line: int
    amount_minor: int
    payment_id: PaymentId
    payout_id: PayoutId
    currency: str
    left_minor: int


@dataclass(frozen=True, slots=True)
class Reversal:
    """A part of a payout's transfer that is taken back.

    `journal_id` and `line` name the entry for which it is: a seller's part of a refund or of a dispute. One that
    was made at Stripe without us is for none. The Stripe key as of a refund.
    """

    id: ReversalId
    payout_id: PayoutId
    amount_minor: int
    currency: str
    status: ReversalStatus
    created_at: datetime
    updated_at: datetime
    payment_id: PaymentId | None = None
    journal_id: JournalId | None = None
    line: int | None = None
    failure_code: str | None = None
    stripe_reversal_id: str | None = None
    attempts: int = 0
    key_number: int = 0
    first_sent_at: datetime | None = None
    key_burnt_at: datetime | None = None

    @property
    def stripe_key(self) -> str:
        """The idempotency key under which it is sent to Stripe."""
        return f"reversal-{self.id}" + (f"-{self.key_number}" if self.key_number else "")


def draft_reversals(debits: Sequence[PaidDebit], ids: Sequence[ReversalId], now: datetime) -> list[Reversal]:
    """Return what is taken back for debits: of each, in order, what its payout has left and Stripe moves."""
    left = {debit.payout_id: debit.left_minor for debit in debits}
    drafts = []
    for debit, reversal_id in zip(debits, ids, strict=True):
        amount_minor = movable(min(debit.amount_minor, left[debit.payout_id]), debit.currency)
        left[debit.payout_id] -= amount_minor
        if amount_minor:
            drafts.append(
                Reversal(
                    id=reversal_id,
                    payout_id=debit.payout_id,
                    amount_minor=amount_minor,
                    currency=debit.currency,
                    status=ReversalStatus.PENDING,
                    created_at=now,
                    updated_at=now,
                    payment_id=debit.payment_id,
                    journal_id=debit.journal_id,
                    line=debit.line,
                )
            )
    return drafts


def payout_event(payout: Payout, now: datetime) -> Event:
    """Return the event that tells where a payout stands now."""
    facts = {"failure_code": payout.failure_code} if payout.failure_code else {}
    return event(
        f"payout.{payout.status}",
        payout.id,
        now,
        audience=[payout.seller_id],
        amount_minor=payout.amount_minor,
        currency=payout.currency,
        **facts,
    )
