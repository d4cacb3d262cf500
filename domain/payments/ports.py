"""What payments need from outside."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from domain.events import Event, EventLog
from domain.identity.model import Principal
from domain.identity.ports import UserRepository
from domain.ids import OrderId, PaymentId, UserId
from domain.orders.ports import OrderRepository
from domain.pages import Page, PageRequest
from domain.payments.model import Glance, Payment, Sight
from domain.transactions import Transaction


class PaymentRepository(Protocol):
    """The payments."""

    async def add(
        self, payments: Sequence[Payment], *, publish_at: datetime, events: Sequence[Event] = ()
    ) -> Mapping[PaymentId, int | None]:
        """Insert payments in one statement, with the event that tells of each, in the same order.

        They are due at once; `publish_at` is when the sweeper may announce them. Returns those that were added,
        each with its commission in basis points: the seller's own if it has one, else the draft's, and None for an
        order's payment. Left out, with their events, are those whose payer used the key before, whose order has a
        live payment, or whose seller does not exist. Safe to repeat.
        """
        ...

    async def by_keys(self, keys: Sequence[tuple[UserId, str]]) -> Mapping[tuple[UserId, str], Payment]:
        """Return the payments made under pairs of payer and idempotency key."""
        ...

    async def of_order(self, order_id: OrderId) -> Payment | None:
        """Return the payment that paid for an order."""
        ...

    async def visible(self, asked: Sequence[tuple[Principal, PaymentId]]) -> Sequence[Payment | None]:
        """Return, in order, each payment that its asker pays, sells a part of, or may see by role; else None."""
        ...

    async def look(self, glances: Sequence[Glance]) -> Sequence[Sight | None]:
        """Return, in order, what each glance sees; None for a payment that is not `visible` to its principal."""
        ...

    async def ask_for_capture(
        self,
        payment_id: PaymentId,
        amount_minor: int,
        *,
        request_id: str | None = None,
        due_at: datetime,
        publish_at: datetime,
    ) -> None:
        """Write that a locked payment is to be captured, when it is due and when the sweeper may announce it.

        It takes over the `request_id`, if there is one, for the logs.
        """
        ...

    async def ask_for_cancellation(
        self, payment_id: PaymentId, *, request_id: str | None = None, due_at: datetime, publish_at: datetime
    ) -> None:
        """Write that a locked payment is to be cancelled, when it is due and when the sweeper may announce it.

        It takes over the `request_id`, if there is one, for the logs.
        """
        ...

    async def lock(self, payment_id: PaymentId) -> Payment:
        """Lock a payment that exists until the transaction ends. Lock its order first."""
        ...

    async def page(
        self, principal: Principal, request: PageRequest, order_id: OrderId | None = None
    ) -> Page[Payment]:
        """Return a page of the payments that the caller may see, of one order if given, newest first."""
        ...


class PaymentsTransaction(Transaction, Protocol):
    """The repositories of this context."""

    @property
    def users(self) -> UserRepository:
        """The users, among them the sellers with their commissions."""
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
    def events(self) -> EventLog:
        """The event log."""
        ...
