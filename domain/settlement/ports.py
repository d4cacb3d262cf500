"""What settling needs of the database and of the queue."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

from domain.disputes.ports import DisputeRepository
from domain.events import EventLog
from domain.ids import OrderId, PaymentId, RefundId, UserId
from domain.ledger.ports import LedgerRepository
from domain.orders.ports import OrderRepository, ShipmentRepository
from domain.payments.model import Payment
from domain.refunds.model import Refund
from domain.refunds.ports import RefundRepository
from domain.sellers.ports import SellerAccountRepository
from domain.settlement.inbox.ports import StripeEventRepository
from domain.settlement.model import (
    Backlog,
    PaymentChange,
    Quarantined,
    Returned,
    StuckPayment,
    WorkState,
)
from domain.settlement.payout_ports import PayoutWorkRepository, ReversalWorkRepository
from domain.transactions import Transaction
from domain.work import Work

RowId = TypeVar("RowId", bound=UUID | str)


class PaymentWorkRepository(Protocol):
    """The payments as rows that wait for work."""

    async def lease(self, ids: Sequence[PaymentId], now: datetime, locked_until: datetime) -> Sequence[Payment]:
        """Lease those of the payments that are due and that nobody holds, skipping locked rows.

        Counts the attempt, notes when the Stripe key is used first, and makes a pending payment `processing`.
        """
        ...

    async def by_ids(self, ids: Sequence[PaymentId]) -> Mapping[PaymentId, Payment]:
        """Return the payments that exist, by id, unlocked."""
        ...

    async def orders_of(self, ids: Collection[PaymentId]) -> Mapping[PaymentId, OrderId | None]:
        """Return the order of each payment that exists."""
        ...

    async def parties_of(self, ids: Collection[PaymentId]) -> Mapping[PaymentId, Collection[UserId]]:
        """Return whom each payment that exists concerns: its payer and its sellers."""
        ...

    async def lock(self, ids: Sequence[PaymentId]) -> Sequence[tuple[Payment, bool]]:
        """Lock payments until the transaction ends, in sorted order.

        Returns each with whether its order has another live payment. Lock the orders first.
        """
        ...

    async def save(self, changes: Sequence[PaymentChange]) -> None:
        """Write what changed of locked payments and when they are due again; end their leases and quarantine."""
        ...

    async def drop_captures(self, ids: Sequence[PaymentId]) -> None:
        """Forget the captures that were asked for of locked payments."""
        ...

    async def quarantine(self, payment_id: PaymentId, reason: str, at: datetime) -> None:
        """Take a payment out of work until a person has looked at it."""
        ...

    async def stuck(self, now: datetime, overdue_before: datetime, *, limit: int) -> Sequence[StuckPayment]:
        """Return payments that make no progress, the longest first; overdue is what was due before that time."""
        ...

    async def work_state(self, payment_id: PaymentId) -> WorkState:
        """Return when a payment that exists is due, and who keeps it: a lease or the quarantine."""
        ...

    async def release(self, payment_id: PaymentId, at: datetime) -> None:
        """Make a locked payment due at that time, without quarantine and without lease."""
        ...


class RefundWorkRepository(Protocol):
    """The refunds as rows that wait for work."""

    async def lease(self, ids: Sequence[RefundId], now: datetime, locked_until: datetime) -> Sequence[Refund]:
        """Take those of the refunds that are due and that nobody holds, skipping locked rows.

        Counts the attempt and starts the life of the Stripe key.
        """
        ...

    async def find(self, refund_id: RefundId | None, stripe_refund_id: str | None) -> Refund | None:
        """Return the refund with Stripe's id, or else the one with ours, unlocked."""
        ...

    async def lock(self, refund_id: RefundId) -> Refund:
        """Lock a refund that exists until the transaction ends. Lock its payment first."""
        ...

    async def save(self, refund: Refund, *, due_at: datetime | None) -> None:
        """Write a locked refund and when it is due again, and end its lease and its quarantine."""
        ...

    async def quarantine(self, refund_id: RefundId, reason: str, at: datetime) -> None:
        """Take a refund out of work until a person has looked at it."""
        ...

    async def returned(self, payment_id: PaymentId) -> Returned:
        """Return what of a payment's captured money went back to the payer."""
        ...


class DueWorkRepository(Protocol):
    """All rows that wait for work, as the sweeper sees them."""

    async def claim(
        self, work: Work, now: datetime, *, republish_after_s: float, limit: int
    ) -> Sequence[UUID | str]:
        """Return the ids of due rows whose `publish_at` has come, oldest first.

        Moves the `publish_at` of each into the future, the further the longer it has waited. For deliveries the
        ids are those of endpoints with due deliveries, and each is announced again as long as it has any.
        """
        ...

    async def give_back(self, work: Work, ids: Sequence[RowId], publish_at: datetime) -> None:
        """Let claimed rows whose message was not published be announced at that time, or earlier if they would be.

        Endpoints with deliveries are announced again anyway.
        """
        ...

    async def tried(self, work: Work, ids: Sequence[UUID | str]) -> Collection[UUID | str]:
        """Return those of the rows that a worker has tried before."""
        ...

    async def backlogs(self, now: datetime) -> Sequence[Backlog]:
        """Return how much of each kind of work is due and waits for somebody, and for how long."""
        ...

    async def postpone(self, work: Work, dues: Mapping[RowId, datetime], now: datetime) -> None:
        """Make due rows due later, each at its own time; those that somebody holds are left alone."""
        ...


class QuarantineRepository(Protocol):
    """The rows that wait for a person, of all kinds of work."""

    async def find(self, *, limit: int) -> Sequence[Quarantined]:
        """Return what is in quarantine, the longest first."""
        ...

    async def release(self, work: Work, row_id: UUID, now: datetime) -> bool:
        """Let a locked row go, which is due then if something is left to do; False if it was not in quarantine."""
        ...


class SettlementTransaction(Transaction, Protocol):
    """The repositories of this context."""

    @property
    def payment_work(self) -> PaymentWorkRepository:
        """The payments that wait for work."""
        ...

    @property
    def shipments(self) -> ShipmentRepository:
        """The shipments."""
        ...

    @property
    def refunds(self) -> RefundRepository:
        """The refunds."""
        ...

    @property
    def refund_work(self) -> RefundWorkRepository:
        """The refunds that wait for work."""
        ...

    @property
    def disputes(self) -> DisputeRepository:
        """The disputes."""
        ...

    @property
    def seller_accounts(self) -> SellerAccountRepository:
        """The sellers' accounts at Stripe."""
        ...

    @property
    def payout_work(self) -> PayoutWorkRepository:
        """The payouts that wait for work."""
        ...

    @property
    def reversal_work(self) -> ReversalWorkRepository:
        """The reversals that wait for work."""
        ...

    @property
    def stripe_events(self) -> StripeEventRepository:
        """The inbox of Stripe's webhooks."""
        ...

    @property
    def due_work(self) -> DueWorkRepository:
        """All rows that wait for work."""
        ...

    @property
    def quarantine(self) -> QuarantineRepository:
        """The rows that wait for a person."""
        ...

    @property
    def orders(self) -> OrderRepository:
        """The orders."""
        ...

    @property
    def ledger(self) -> LedgerRepository:
        """The ledger."""
        ...

    @property
    def events(self) -> EventLog:
        """The event log."""
        ...


class WorkQueue(Protocol):
    """The broker, as the sweeper sees it."""

    async def publish(self, work: Work, ids: Sequence[UUID | str]) -> None:
        """Publish one message that names those rows. Errors: Unavailable."""
        ...

    async def depth(self, work: Work) -> int:
        """Return how many messages wait. Errors: Unavailable."""
        ...
