"""What Stripe's webhooks tell of disputes."""

from collections.abc import Sequence
from typing import Protocol

from domain.errors import Refused, Unavailable
from domain.settlement.answers import StripeDispute
from domain.settlement.disputes import DisputeSettlement
from domain.settlement.inbox.charge_owners import ChargeOwners
from domain.settlement.inbox.refund_events import MAX_ATTEMPTS
from domain.settlement.inbox.stripe_events import Statuses, Told
from domain.settlement.model import StripeEventStatus
from domain.settlement.stripe_objects import UNREADABLE, read_dispute
from domain.settlement.together import all_of

DISPUTE_EVENTS = frozenset(
    {
        "charge.dispute.created",
        "charge.dispute.updated",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.funds_reinstated",
        "charge.dispute.closed",
    }
)


class DisputeSource(Protocol):
    """Stripe's disputes."""

    async def dispute(self, dispute_id: str) -> StripeDispute | None:
        """Return a dispute as it is now; None where there is none. Errors: Unavailable."""
        ...


class DisputeEvents:
    """`domain.settlement.inbox.stripe_events.EventReader` of disputes."""

    kinds = DISPUTE_EVENTS

    def __init__(self, settlement: DisputeSettlement, owners: ChargeOwners, source: DisputeSource) -> None:
        """Keep the collaborators."""
        self._settlement = settlement
        self._owners = owners
        self._source = source

    async def read(self, told: Sequence[Told]) -> Statuses:
        """Settle what events report, and return what became of each, by id."""
        done = await all_of(self._read_one(each) for each in told)
        return {each.event.id: status for each, status in zip(told, done, strict=True) if status is not None}

    async def _read_one(self, told: Told) -> StripeEventStatus | None:
        try:
            is_ours = await self.settle(read_dispute(told.raw))
        except UNREADABLE:
            return StripeEventStatus.QUARANTINED
        except Unavailable:
            return None
        except Refused:
            # The charge may be booked later; what no rule can book waits for a person in the end.
            return StripeEventStatus.QUARANTINED if told.event.attempts >= MAX_ATTEMPTS else None
        return StripeEventStatus.PROCESSED if is_ours else StripeEventStatus.UNMATCHED

    async def settle(self, dispute: StripeDispute) -> bool:
        """Settle what is known of one dispute; return whether it is of one of our payments.

        Where what is told may be late for all that it says, Stripe is asked how the dispute stands now. Errors:
        Refused while its charge is not booked; Unavailable when Stripe does not say whose it is, or how it stands.
        """
        payment_id = await self._owners.payment_of(dispute.charge_id, dispute.intent_id)
        if payment_id is None:
            return False
        is_doubtful = await self._settlement.is_doubtful(dispute)
        present = await self._source.dispute(dispute.stripe_dispute_id) if is_doubtful else dispute
        if present is None:
            return False
        await self._settlement.settle(payment_id, present, is_present=is_doubtful)
        return True
