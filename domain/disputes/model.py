"""Disputes: payers who ask their bank for their money back, and what became of the money."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.ids import DisputeId, PaymentId


class DisputeStatus(StrEnum):
    """Stripe's own states of a dispute (docs.stripe.com/api/disputes/object#dispute_object-status)."""

    WARNING_NEEDS_RESPONSE = "warning_needs_response"
    WARNING_UNDER_REVIEW = "warning_under_review"
    WARNING_CLOSED = "warning_closed"
    NEEDS_RESPONSE = "needs_response"
    UNDER_REVIEW = "under_review"
    APPEAL_NEEDS_RESPONSE = "appeal_needs_response"
    APPEAL_UNDER_REVIEW = "appeal_under_review"
    PREVENTED = "prevented"
    WON = "won"
    LOST = "lost"


OPEN = frozenset(
    {
        DisputeStatus.NEEDS_RESPONSE,
        DisputeStatus.UNDER_REVIEW,
        DisputeStatus.APPEAL_NEEDS_RESPONSE,
        DisputeStatus.APPEAL_UNDER_REVIEW,
    }
)
"""States in which the money is fought for. An inquiry (the warning states) moves none."""

_APPEALS = frozenset({DisputeStatus.APPEAL_NEEDS_RESPONSE, DisputeStatus.APPEAL_UNDER_REVIEW})
_ENDS = frozenset({DisputeStatus.WON, DisputeStatus.LOST, DisputeStatus.PREVENTED})

# The one table of a dispute's legal steps; the database holds the same rows, and a test compares the two. They
# lead forward alone, so that a report that is late changes nothing. What was lost may still be won, by an appeal
# or late.
DISPUTE_TRANSITIONS: Mapping[DisputeStatus, frozenset[DisputeStatus]] = {
    DisputeStatus.WARNING_NEEDS_RESPONSE: OPEN
    | _ENDS
    | {DisputeStatus.WARNING_UNDER_REVIEW, DisputeStatus.WARNING_CLOSED},
    DisputeStatus.WARNING_UNDER_REVIEW: OPEN | _ENDS | {DisputeStatus.WARNING_CLOSED},
    DisputeStatus.WARNING_CLOSED: frozenset(),
    DisputeStatus.NEEDS_RESPONSE: (OPEN | _ENDS) - {DisputeStatus.NEEDS_RESPONSE},
    DisputeStatus.UNDER_REVIEW: _APPEALS | _ENDS,
    DisputeStatus.APPEAL_NEEDS_RESPONSE: _ENDS | {DisputeStatus.APPEAL_UNDER_REVIEW},
    DisputeStatus.APPEAL_UNDER_REVIEW: _ENDS,
    DisputeStatus.PREVENTED: frozenset(),
    DisputeStatus.WON: frozenset(),
    DisputeStatus.LOST: _APPEALS | {DisputeStatus.WON},
}


class DisputeFunds(StrEnum):
    """What became of the disputed money, as far as Stripe has moved it."""

    NONE = "none"
    WITHDRAWN = "withdrawn"
    REINSTATED = "reinstated"
    LOST = "lost"


GONE = frozenset({DisputeFunds.WITHDRAWN, DisputeFunds.LOST})
"""States in which the disputed money is not there to be refunded."""


@dataclass(frozen=True, slots=True)
class Dispute:
    """A dispute of a payment.

    `amount_minor` is what is disputed, `withdrawn_minor` what Stripe has taken for it. `evidence_due_at` is the
    last moment for an answer. `withdrawal_id` is the balance transaction of the last withdrawal, `transaction_ids`
    are all that are booked, so that each is booked once.
    """

    id: DisputeId
    payment_id: PaymentId
    stripe_dispute_id: str
    stripe_charge_id: str
    amount_minor: int
    currency: str
    reason: str
    status: DisputeStatus
    evidence_due_at: datetime | None
    opened_at: datetime
    created_at: datetime
    updated_at: datetime
    funds: DisputeFunds = DisputeFunds.NONE
    withdrawn_minor: int = 0
    withdrawal_id: str | None = None
    transaction_ids: tuple[str, ...] = ()
