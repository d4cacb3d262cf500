"""The names of all events. Clients build on them: a name is added, never changed."""

from enum import StrEnum


class EventType(StrEnum):
    """What can happen; the part before the dot is the kind of thing that it tells of."""

    ORDER_PLACED = "order.placed"
    ORDER_PAID = "order.paid"
    ORDER_SHIPPED = "order.shipped"
    ORDER_COMPLETED = "order.completed"
    ORDER_CANCELLED = "order.cancelled"
    ORDER_EXPIRED = "order.expired"
    ORDER_REFUNDED = "order.refunded"
    ORDER_DISPUTED = "order.disputed"
    ORDER_RESUMED = "order.resumed"
    SHIPMENT_CREATED = "shipment.created"
    PAYMENT_ACCEPTED = "payment.accepted"
    PAYMENT_UNKNOWN = "payment.unknown"
    PAYMENT_REQUIRES_ACTION = "payment.requires_action"
    PAYMENT_REQUIRES_CAPTURE = "payment.requires_capture"
    PAYMENT_SUCCEEDED = "payment.succeeded"
    PAYMENT_FAILED = "payment.failed"
    PAYMENT_CANCELED = "payment.canceled"
    PAYMENT_CAPTURED_LATE = "payment.captured_late"
    PAYMENT_CAPTURE_FAILED = "payment.capture_failed"
    PAYMENT_QUARANTINED = "payment.quarantined"
    REFUND_ACCEPTED = "refund.accepted"
    REFUND_SUCCEEDED = "refund.succeeded"
    REFUND_FAILED = "refund.failed"
    REFUND_QUARANTINED = "refund.quarantined"
    DISPUTE_OPENED = "dispute.opened"
    DISPUTE_FUNDS_WITHDRAWN = "dispute.funds_withdrawn"
    DISPUTE_FUNDS_LOST = "dispute.funds_lost"
    DISPUTE_FUNDS_REINSTATED = "dispute.funds_reinstated"
    DISPUTE_WARNING_NEEDS_RESPONSE = "dispute.warning_needs_response"
    DISPUTE_WARNING_UNDER_REVIEW = "dispute.warning_under_review"
    DISPUTE_WARNING_CLOSED = "dispute.warning_closed"
    DISPUTE_NEEDS_RESPONSE = "dispute.needs_response"
    DISPUTE_UNDER_REVIEW = "dispute.under_review"
    DISPUTE_APPEAL_NEEDS_RESPONSE = "dispute.appeal_needs_response"
    DISPUTE_APPEAL_UNDER_REVIEW = "dispute.appeal_under_review"
    DISPUTE_PREVENTED = "dispute.prevented"
    DISPUTE_WON = "dispute.won"
    DISPUTE_LOST = "dispute.lost"
    SELLER_BALANCE_NEGATIVE = "seller.balance_negative"
    PRODUCT_OFFERED = "product.offered"
    PRODUCT_EDITED = "product.edited"
    PRODUCT_WITHDRAWN = "product.withdrawn"
    USER_PASSWORD_CHANGED = "user.password_changed"  # noqa: S105 - a name
    SESSION_ENDED = "session.ended"
    API_KEY_CREATED = "api_key.created"
    API_KEY_REVOKED = "api_key.revoked"
    WEBHOOK_ENDPOINT_DISABLED = "webhook_endpoint.disabled"


EVERYTHING = "*"
"""The filter that every event passes."""

FILTERS = frozenset({EVERYTHING, *EventType, *(f"{name.partition('.')[0]}.*" for name in EventType)})
"""What a listener may ask for: everything, all that happens to one kind of thing, or one type of event."""


def passes(event_type: str, filters: frozenset[str] | tuple[str, ...]) -> bool:
    """Tell whether an event of that type is among what a listener asked for."""
    return not {EVERYTHING, event_type, f"{event_type.partition('.')[0]}.*"}.isdisjoint(filters)
