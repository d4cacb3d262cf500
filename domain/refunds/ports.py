"""What refunds need from outside."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from domain.disputes.ports import DisputeRepository
from domain.events import EventLog
from domain.identity.model import Principal
from domain.ids import PaymentId, RefundId, UserId
from domain.orders.ports import OrderRepository, ShipmentRepository
from domain.pages import Page, PageRequest
from domain.payments.ports import PaymentRepository
from domain.refunds.model import Refund
from domain.transactions import Transaction


class RefundRepository(Protocol):
    """The refunds with their lines."""

    async def add(self, refunds: Sequence[Refund], *, publish_at: datetime) -> Collection[RefundId]:
        """Insert refunds, due at once, and return the ids of those that went in.

        Left out are those whose requester used the key before. Lock their payments first. All are pending, but
        for those that were made at Stripe and have failed there: these never count. Errors: Refused when more
        would go back than was captured.
        """
        ...

    async def by_key(self, requested_by: UserId, idempotency_key: str) -> Refund | None:
        """Return the refund that a caller asked for under a key."""
        ...

    async def of_payment(self, payment_id: PaymentId) -> Sequence[Refund]:
        """Return a payment's refunds, oldest first, at most 1,000."""
        ...

    async def visible(self, principal: Principal, refund_id: RefundId) -> Refund | None:
        """Return a refund if the caller paid, sells a line of it, or may see all."""
        ...

    async def visible_of_payment(
        self, principal: Principal, payment_id: PaymentId, request: PageRequest
    ) -> Page[Refund]:
        """Return a page of those of a payment's refunds that `visible` would, oldest first."""
        ...


class RefundsTransaction(Transaction, Protocol):
    """The repositories of this context."""

    @property
    def refunds(self) -> RefundRepository:
        """The refunds."""
        ...

    @property
    def disputes(self) -> DisputeRepository:
        """The disputes."""
        ...

    @property
    def payments(self) -> PaymentRepository:
        """The payments."""
        ...

    @property
    def orders(self) -> OrderRepository:
        """The orders."""
        ...

    @property
    def shipments(self) -> ShipmentRepository:
        """The shipments."""
        ...

    @property
    def events(self) -> EventLog:
        """The event log."""
        ...
