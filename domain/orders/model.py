"""Orders: what was bought, and the state machine of its life."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.errors import IllegalTransition
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
# compares the two. A dispute may arrive after any payment; when it is won the order returns to where it was.
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
    OrderStatus.REFUNDED: frozenset(),
}


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
    """An order of one buyer, of lines of one or more sellers, in one currency."""

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

    @property
    def parties(self) -> frozenset[UserId]:
        """The buyer and the sellers of its lines: those whom the order concerns."""
        return frozenset({self.buyer_id, *(line.seller_id for line in self.lines)})


def check_order_transition(current: OrderStatus, wanted: OrderStatus) -> None:
    """Refuse a step that the table does not have. Errors: IllegalTransition, naming the state."""
    if wanted not in ORDER_TRANSITIONS[current]:
        raise IllegalTransition(f"an order that is {current} cannot become {wanted}", order_status=str(current))
