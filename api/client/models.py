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
    suspended_at: str | None


class ApiKey(TypedDict):
    """An API key; `prefix` is how it begins."""

    id: str
    user_id: str
    name: str
    prefix: str
    scopes: Sequence[str]
    created_at: str
    last_used_at: str | None


class NewApiKey(ApiKey):
    """A new API key; `key` is shown this once."""

    key: str


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
    attributes: Mapping[str, Any]
    image_urls: Sequence[str]
    created_at: str
    updated_at: str
    withdrawn_at: str | None


class CartItem(TypedDict):
    """A product in a cart, at the price that was seen."""

    product_id: str
    quantity: int
    price_minor: int
    currency: str
    put_at: str


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
    carrier: str | None
    tracking_number: str | None
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
    expires_at: str | None


class Payment(TypedDict):
    """A payment. `client_secret` is there for its payer alone, while it requires an action."""

    id: str
    order_id: str | None
    seller_id: str | None
    status: PaymentStatus
    amount_minor: int
    currency: str
    capture: Literal["automatic", "manual"]
    captured_minor: int
    refunded_minor: int
    failure_code: str | None
    client_secret: str | None
    created_at: str
    updated_at: str


class RefundedLine(TypedDict):
    """What goes back of a line, counted from 1 as in the order."""

    line: int
    seller_id: str
    amount_minor: int


class Refund(TypedDict):
    """A refund."""

    id: str
    payment_id: str
    status: Literal["pending", "succeeded", "failed"]
    amount_minor: int
    currency: str
    reason: str
    failure_code: str | None
    lines: Sequence[RefundedLine]
    created_at: str
    updated_at: str


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


class Dispute(TypedDict):
    """A dispute; evidence is handed in at Stripe, until `evidence_due_at`."""

    id: str
    payment_id: str
    stripe_dispute_id: str
    status: Literal[
        "warning_needs_response",
        "warning_under_review",
        "warning_closed",
        "needs_response",
        "under_review",
        "appeal_needs_response",
        "appeal_under_review",
        "prevented",
        "won",
        "lost",
    ]
    funds: Literal["none", "withdrawn", "reinstated", "lost"]
    reason: str
    amount_minor: int
    currency: str
    evidence_due_at: str | None
    opened_at: str
    created_at: str
    updated_at: str


class Seller(TypedDict):
    """A seller as it sees itself; `link` leads to Stripe's questions, once."""

    id: str
    onboarding_status: Literal["not_started", "pending", "open", "complete", "failed"]
    link: str | None
    link_expires_at: str | None
    failure_code: str | None
    payouts_enabled: bool
    commission_bps: int


class Balance(TypedDict):
    """What a seller is owed in one currency."""

    currency: str
    balance_minor: int
    pending_minor: int
    available_minor: int
    negative_minor: int
    in_payout_minor: int
    in_dispute_minor: int


class Payout(TypedDict):
    """A payout: `in_transit` at the seller's account at Stripe, `paid` at its bank."""

    id: str
    seller_id: str
    status: Literal["pending", "processing", "unknown", "in_transit", "paid", "failed", "reversed"]
    origin: Literal["requested", "scheduled"]
    amount_minor: int
    currency: str
    reversed_minor: int
    failure_code: str | None
    stripe_transfer_id: str | None
    stripe_payout_id: str | None
    created_at: str
    updated_at: str


class StatementLine(TypedDict):
    """A movement, and what the balance was after it."""

    journal_id: str
    kind: str
    source: str
    payment_id: str | None
    created_at: str
    amount_minor: int
    balance_minor: int


# `from` is a word of Python's.
Statement = TypedDict(
    "Statement",
    {
        "seller_id": str,
        "currency": str,
        "from": str | None,
        "to": str,
        "opening_minor": int,
        "lines": Sequence[StatementLine],
        "closing_minor": int,
        "next_cursor": str | None,
    },
)
"""A seller's statement: `opening_minor`, and each line after it, make `closing_minor`."""


class WebhookEndpoint(TypedDict):
    """A webhook endpoint, without its secret."""

    id: str
    owner_id: str
    url: str
    events: Sequence[str]
    status: Literal["enabled", "disabled", "deleted"]
    disabled_reason: Literal["gone", "failing"] | None
    failing_since: str | None
    resume_at: str | None
    previous_secret_expires_at: str | None
    created_at: str
    updated_at: str


class NewWebhookEndpoint(WebhookEndpoint):
    """A webhook endpoint with the secret that it was just given, which is shown this once."""

    secret: str


class Attempt(TypedDict):
    """One request to an endpoint: a status with the start of the answer, or the kind of the failure."""

    number: int
    at: str
    latency_ms: int
    response_status: int | None
    response_start: str
    error: str | None


class Delivery(TypedDict):
    """An event on its way to an endpoint; `event_id` is its `webhook-id`, `log` has the newest attempts first."""

    id: str
    endpoint_id: str
    event_id: str
    event_type: str
    status: Literal["pending", "delivered", "failed"]
    attempts: int
    next_attempt_at: str | None
    created_at: str
    log: Sequence[Attempt]


class Redelivery(TypedDict):
    """How many deliveries are due again; ask for the rest with `next_cursor`, if it is there."""

    scheduled: int
    next_cursor: str | None
