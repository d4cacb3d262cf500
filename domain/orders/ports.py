"""What orders need from outside."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from domain.catalog.ports import ProductRepository
from domain.events import EventLog
from domain.identity.model import Principal
from domain.identity.ports import UserRepository
from domain.ids import OrderId, UserId
from domain.orders.model import Order, OrderStatus
from domain.pages import Page, PageRequest
from domain.transactions import Transaction


class OrderRepository(Protocol):
    """The orders with their lines."""

    async def add(self, order: Order) -> bool:
        """Insert an order; return False when the buyer used its idempotency key before."""
        ...

    async def by_key(self, buyer_id: UserId, idempotency_key: str) -> Order | None:
        """Return the order that a buyer placed under a key."""
        ...

    async def visible(self, principal: Principal, order_id: OrderId) -> Order | None:
        """Return an order if the caller bought it, sells a line of it, or may see all."""
        ...

    async def page(self, principal: Principal, request: PageRequest) -> Page[Order]:
        """Return a page of the orders that the caller may see, newest first."""
        ...

    async def lock(self, ids: Sequence[OrderId]) -> Mapping[OrderId, Order]:
        """Lock orders until the transaction ends, in sorted order, and return those that exist, by id."""
        ...

    async def advance(self, statuses: Mapping[OrderId, OrderStatus], at: datetime) -> None:
        """Write new states of locked orders."""
        ...


class OrdersTransaction(Transaction, Protocol):
    """The repositories of this context."""

    @property
    def orders(self) -> OrderRepository:
        """The orders."""
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
