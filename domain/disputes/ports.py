"""What disputes need from outside."""

from collections.abc import Sequence
from typing import Protocol

from domain.disputes.model import Dispute, DisputeStatus
from domain.identity.model import Principal
from domain.ids import DisputeId, PaymentId
from domain.pages import Page, PageRequest
from domain.transactions import Transaction


class DisputeRepository(Protocol):
    """The disputes."""

    async def by_stripe_id(self, stripe_dispute_id: str) -> Dispute | None:
        """Lock the dispute with Stripe's id until the transaction ends, and return it. Lock its payment first."""
        ...

    async def save(self, dispute: Dispute) -> None:
        """Write a dispute, new or locked."""
        ...

    async def of_payment(self, payment_id: PaymentId) -> Sequence[Dispute]:
        """Return a locked payment's disputes, in the order in which we heard of them, at most 100."""
        ...

    async def holds_money_of(self, payment_id: PaymentId) -> bool:
        """Return whether a dispute has taken money of a locked payment, or takes it, and has not given it back.

        One that is open has, though nothing may have told of the money yet; an inquiry has not.
        """
        ...

    async def visible(self, principal: Principal, dispute_id: DisputeId) -> Dispute | None:
        """Return a dispute if the caller sells a part of its payment, or may see all."""
        ...

    async def page(
        self, principal: Principal, request: PageRequest, status: DisputeStatus | None
    ) -> Page[Dispute]:
        """Return a page of the disputes that the caller may see, of one state if given, newest first."""
        ...


class DisputesTransaction(Transaction, Protocol):
    """The repositories of this context."""

    @property
    def disputes(self) -> DisputeRepository:
        """The disputes."""
        ...
