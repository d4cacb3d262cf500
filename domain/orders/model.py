"""Orders: what was bought, and the state machine of its life."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.errors import Conflict, IllegalTransition
from domain.events import Event, event
from domain.ids import OrderId, ProductId, UserId


class OrderStatus(StrEnum):
    """Where an order stands."""

    PENDING = "pending"
    PAID = "paid"
    SHIPPED = "shipped"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REFUNDED = "refunded"
    DISPUTED = "disputed"


# The one table of an order's legal steps. The database holds the same rows in `legal_transitions`, and a test
# compares the two. A dispute may arrive after any payment; when it is won the order returns to where it was, as it
# does when a refund of all its money fails.
ORDER_TRANSITIONS: Mapping[OrderStatus, frozenset[OrderStatus]] = {
    OrderStatus.PENDING: frozenset({OrderStatus.PAID, OrderStatus.CANCELLED, OrderStatus.EXPIRED}),
    OrderStatus.PAID: frozenset({OrderStatus.SHIPPED, OrderStatus.REFUNDED, OrderStatus.DISPUTED}),
    OrderStatus.SHIPPED: frozenset({OrderStatus.COMPLETED, OrderStatus.REFUNDED, OrderStatus.DISPUTED}),
    OrderStatus.COMPLETED: frozenset({OrderStatus.REFUNDED, OrderStatus.DISPUTED}),
    OrderStatus.DISPUTED: frozenset(
        {OrderStatus.PAID, OrderStatus.SHIPPED, OrderStatus.COMPLETED, OrderStatus.REFUNDED}
    ),
    OrderStatus.CANCELLED: frozenset(),
    OrderStatus.EXPIRED: frozenset(),
    OrderStatus.REFUNDED: frozenset(
        {OrderStatus.PAID, OrderStatus.SHIPPED, OrderStatus.COMPLETED, OrderStatus.DISPUTED}
    ),
}


SYSTEM = "system"
"""Who takes the steps that no user takes."""


class OutOfStock(Conflict):
    """Not enough of a product is left."""

    code = "insufficient_stock"


class StockGone(OutOfStock):
    """It was there at the look and is gone at the grasp."""


class PricesChanged(Conflict):
    """Products cost something else than when they were put into the cart; the facts say what."""

    code = "prices_changed"


@dataclass(frozen=True, slots=True)
class OrderPolicy:
    """The settings of placing orders: the default commission in basis points, minor units, seconds."""

    commission_bps: int
    max_amount_minor: int
    ttl_s: float


@dataclass(frozen=True, slots=True)
class OrderLine:
    """A product in an order, at the price and the commission that held when it was placed."""

    line: int
    product_id: ProductId
    seller_id: UserId
    quantity: int
    price_minor: int
    commission_bps: int

    @property
    def amount_minor(self) -> int:
        """What this line costs."""
        return self.quantity * self.price_minor


@dataclass(frozen=True, slots=True)
class Order:
    """An order of one buyer, of lines of one or more sellers, in one currency.

    `due_at` is when time takes the next step: a pending order expires, a shipped one completes. It may stand
    on an order for which time does nothing; `domain/fulfilment/deadlines.py` clears it.
    `resumes_as` is where an order that is disputed or refunded was, and returns to; the database keeps it.
    """

    id: OrderId
    buyer_id: UserId
    status: OrderStatus
    amount_minor: int
    currency: str
    lines: tuple[OrderLine, ...]
    idempotency_key: str
    request_hash: bytes
    created_at: datetime
    updated_at: datetime
    due_at: datetime | None = None
    resumes_as: OrderStatus | None = None

    @property
    def sellers(self) -> frozenset[UserId]:
        """The sellers of its lines."""
        return frozenset(line.seller_id for line in self.lines)

    @property
    def parties(self) -> frozenset[UserId]:
        """The buyer and the sellers of its lines: those whom the order concerns."""
        return self.sellers | {self.buyer_id}


@dataclass(frozen=True, slots=True)
class Shipment:
    """What one seller sent of an order: all its lines, in one parcel; by hand perhaps, without a number."""

    order_id: OrderId
    seller_id: UserId
    carrier: str | None
    tracking_number: str | None
    created_at: datetime


def check_order_transition(current: OrderStatus, wanted: OrderStatus) -> None:
    """Refuse a step that the table does not have. Errors: IllegalTransition, naming the state."""
    if wanted not in ORDER_TRANSITIONS[current]:
        raise IllegalTransition(f"an order that is {current} cannot become {wanted}", order_status=str(current))


def order_event(
    order: Order, status: OrderStatus, at: datetime, *, by: UserId | str, reason: str, **facts: object
) -> Event:
    """Return the event of a step that an order takes: by whom, a user or the system, and why."""
    return event(f"order.{status}", order.id, at, audience=order.parties, by=by, reason=reason, **facts)
