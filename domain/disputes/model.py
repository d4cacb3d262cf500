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

APPEALS = frozenset({DisputeStatus.APPEAL_NEEDS_RESPONSE, DisputeStatus.APPEAL_UNDER_REVIEW})
ENDS = frozenset({DisputeStatus.WON, DisputeStatus.LOST, DisputeStatus.PREVENTED})
KEPT = frozenset({DisputeStatus.WON, DisputeStatus.PREVENTED, DisputeStatus.WARNING_CLOSED})
"""States that are over with the money kept; a dispute leaves them when money is taken for it all the same."""

# The one table of a dispute's legal steps; the database holds the same rows, and a test compares the two. They
# lead forward, so that a report that is late changes nothing, but for two ways on from an end: what was lost may
# still be won, by an appeal or late, and what was over may take money again. Which reports may take these is for
# `domain.settlement.decide.disputes` to say.
DISPUTE_TRANSITIONS: Mapping[DisputeStatus, frozenset[DisputeStatus]] = {
    DisputeStatus.WARNING_NEEDS_RESPONSE: OPEN
    | ENDS
    | {DisputeStatus.WARNING_UNDER_REVIEW, DisputeStatus.WARNING_CLOSED},
    DisputeStatus.WARNING_UNDER_REVIEW: OPEN | ENDS | {DisputeStatus.WARNING_CLOSED},
    DisputeStatus.WARNING_CLOSED: OPEN | ENDS,
    DisputeStatus.NEEDS_RESPONSE: (OPEN | ENDS) - {DisputeStatus.NEEDS_RESPONSE},
    DisputeStatus.UNDER_REVIEW: APPEALS | ENDS,
    DisputeStatus.APPEAL_NEEDS_RESPONSE: ENDS | {DisputeStatus.APPEAL_UNDER_REVIEW},
    DisputeStatus.APPEAL_UNDER_REVIEW: ENDS,
    DisputeStatus.PREVENTED: (OPEN | ENDS) - {DisputeStatus.PREVENTED},
    DisputeStatus.WON: (OPEN | ENDS) - {DisputeStatus.WON},
    DisputeStatus.LOST: APPEALS | {DisputeStatus.WON},
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
