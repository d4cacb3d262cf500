"""What the server answers with: JSON as it comes, with types. Times are RFC 3339, money is in minor units."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

PaymentStatus = Literal[
    "pending",
    "processing",
    "requires_action",
    "requires_capture",
    "unknown",
    "succeeded",
    "failed",
    "canceled",
]
FINAL: frozenset[PaymentStatus] = frozenset({"succeeded", "failed", "canceled"})
SETTLED: frozenset[PaymentStatus] = FINAL | {"requires_action", "requires_capture"}
"""Where nothing more happens until somebody acts."""

OrderStatus = Literal["pending", "paid", "shipped", "completed", "cancelled", "expired", "refunded", "disputed"]


class User(TypedDict):
    """A user."""

    id: str
    email: str
    role: Literal["buyer", "seller", "finance", "admin"]
    created_at: str


class Product(TypedDict):
    """A product."""

    id: str
    seller_id: str
    title: str
    description: str
    category: str
    price_minor: int
    currency: str
    stock: int
    created_at: str


class CartItem(TypedDict):
    """A product in a cart, at the price that was seen."""

    product_id: str
    quantity: int
    price_minor: int
    currency: str


class Cart(TypedDict):
    """A cart."""

    items: Sequence[CartItem]


class OrderLine(TypedDict):
    """A product in an order."""

    product_id: str
    seller_id: str
    quantity: int
    price_minor: int


class Shipment(TypedDict):
    """What one seller sent."""

    seller_id: str
    carrier: str
    tracking_number: str
    created_at: str


class Order(TypedDict):
    """An order."""

    id: str
    buyer_id: str
    status: OrderStatus
    items: Sequence[OrderLine]
    amount_minor: int
    currency: str
    shipments: Sequence[Shipment]
    created_at: str
    updated_at: str


class Payment(TypedDict):
    """A payment. `client_secret` is there for its payer alone, while it requires an action."""

    id: str
    order_id: str | None
    seller_id: str | None
    status: PaymentStatus
    amount_minor: int
    currency: str
    capture: Literal["automatic", "manual"]
    failure_code: str | None
    client_secret: str | None
    created_at: str
    updated_at: str


class Refund(TypedDict):
    """A refund."""

    id: str
    payment_id: str
    status: Literal["pending", "succeeded", "failed"]
    amount_minor: int
    currency: str
    reason: str
    created_at: str


class RefundLine(TypedDict):
    """What of a product's line goes back; all that is left of it without an amount."""

    product_id: str
    amount_minor: NotRequired[int]


class Event(TypedDict):
    """Something that happened to an object."""

    id: str
    type: str
    subject_id: str
    data: Mapping[str, Any]
    created_at: str
