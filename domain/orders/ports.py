"""What orders need from outside."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from domain.catalog.ports import ProductRepository
from domain.events import EventLog
from domain.identity.model import Principal
from domain.identity.ports import UserRepository
from domain.ids import OrderId, UserId
from domain.orders.model import Order, OrderStatus, Shipment
from domain.pages import Page, PageRequest
from domain.transactions import Transaction


class OrderRepository(Protocol):
    """The orders with their lines."""

    async def add(self, order: Order) -> bool:
        """Insert an order, which takes the stock of its lines; False when the buyer used its key before.

        Locks the products, sorted by id, and nothing after them: do all else before. Errors: StockGone.
        """
        ...

    async def by_key(self, buyer_id: UserId, idempotency_key: str) -> Order | None:
        """Return the order that a buyer placed under a key."""
        ...

    async def visible(self, principal: Principal, order_id: OrderId) -> Order | None:
        """Return an order if the caller bought it, sells a line of it, or may see all."""
        ...

    async def page(
        self, principal: Principal, request: PageRequest, status: OrderStatus | None = None
    ) -> Page[Order]:
        """Return a page of the orders that the caller may see, of one state if given, newest first.

        There may be fewer than the limit although more follow, where they have many lines. Of one state there may
        even be none: where too many others had to be looked at.
        """
        ...

    async def lock(self, ids: Sequence[OrderId]) -> Mapping[OrderId, Order]:
        """Lock orders until the transaction ends, in sorted order, and return those that exist, by id."""
        ...

    async def advance(self, statuses: Mapping[OrderId, OrderStatus], at: datetime) -> None:
        """Write new states of locked orders.

        An order that is cancelled or expires gives its stock back: this locks the products, sorted by id.
        Paying touches none. One that ships, or is shipped again after a dispute, is due at once, so that time
        finds out when it completes.
        """
        ...

    async def due(self, now: datetime, *, limit: int) -> Sequence[OrderId]:
        """Return the ids of orders that wait for time to take a step, the longest due first, unlocked."""
        ...

    async def lock_due(self, ids: Sequence[OrderId], now: datetime) -> Sequence[Order]:
        """Lock those of the orders that are still due and that nobody holds, skipping locked rows."""
        ...

    async def live_payments(self, ids: Sequence[OrderId]) -> Mapping[OrderId, str]:
        """Return the state of the live payment of each locked order that has one.

        A payment is accepted under a lock of its order, so nothing changes to this while the lock is held.
        """
        ...

    async def schedule(self, due_ats: Mapping[OrderId, datetime | None]) -> None:
        """Write when time takes the next step of locked orders; None for never."""
        ...


class ShipmentRepository(Protocol):
    """The shipments, one of a seller for an order."""

    async def add(self, shipment: Shipment) -> None:
        """Insert a seller's shipment of a locked order."""
        ...

    async def of_orders(self, order_ids: Sequence[OrderId]) -> Mapping[OrderId, Sequence[Shipment]]:
        """Return the shipments of each of the orders, oldest first; of an order without any, none."""
        ...


class OrdersTransaction(Transaction, Protocol):
    """The repositories of this context."""

    @property
    def orders(self) -> OrderRepository:
        """The orders."""
        ...

    @property
    def shipments(self) -> ShipmentRepository:
        """The shipments."""
        ...

    @property
    def users(self) -> UserRepository:
        """The users, among them the sellers with their commissions."""
        ...

    @property
    def products(self) -> ProductRepository:
        """The products."""
        ...

    @property
    def events(self) -> EventLog:
        """The event log."""
        ...
