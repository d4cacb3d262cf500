"""What OpenAPI shows of webhooks: an endpoint, a delivery, and a payload of each type of event."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

ENDPOINT_ID = "01935b8e-7c00-7000-8000-2f1f9a3c5e21"
EVENT_ID = "01935b8e-7c00-7000-8000-2f1f9a3c5e22"
PAYMENT_ID = "01935b8e-7c00-7000-8000-2f1f9a3c5e23"
USER_ID = "01935b8e-7c00-7000-8000-2f1f9a3c5e24"
_OBJECT_ID = "01935b8e-7c00-7000-8000-2f1f9a3c5e25"
_AT = "2026-11-27T10:05:00.123456Z"

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the specification's own example
ENDPOINT: Mapping[str, Any] = {
    "id": ENDPOINT_ID,
    "owner_id": USER_ID,
    "url": "https://example.com/hooks",
    "events": ["order.paid", "payment.*"],
    "status": "enabled",
    "disabled_reason": None,
    "failing_since": None,
    "resume_at": None,
    "previous_secret_expires_at": None,
    "created_at": "2026-11-25T09:00:00Z",
    "updated_at": "2026-11-25T09:00:00Z",
}
DELIVERY: Mapping[str, Any] = {
    "id": _OBJECT_ID,
    "endpoint_id": ENDPOINT_ID,
    "event_id": EVENT_ID,
    "event_type": "payment.succeeded",
    "status": "pending",
    "attempts": 1,
    "next_attempt_at": "2026-11-27T10:05:05Z",
    "created_at": _AT,
    "log": [
        {
            "number": 1,
            "at": "2026-11-27T10:05:00.200000Z",
            "latency_ms": 48,
            "response_status": 503,
            "response_start": "Service Unavailable",
            "error": None,
        }
    ],
}
EVENT: Mapping[str, Any] = {
    "id": EVENT_ID,
    "type": "payment.succeeded",
    "subject_id": PAYMENT_ID,
    "data": {"order_id": _OBJECT_ID, "amount_minor": 1999, "currency": "USD"},
    "created_at": _AT,
}
_FIELDS: Mapping[str, Any] = {
    "amount_minor": 1999,
    "by": USER_ID,
    "buyer_id": USER_ID,
    "carrier": "DHL",
    "commission_bps": 250,
    "currency": "USD",
    "dispute_id": _OBJECT_ID,
    "evidence_due_at": "2026-12-04T23:59:59Z",
    "fields": ["price_minor", "stock"],
    "journal_id": _OBJECT_ID,
    "order_id": _OBJECT_ID,
    "owed_minor": -1250,
    "payment_id": PAYMENT_ID,
    "prefix": "mf_1f0c5ad29e3b",
    "reason": "requested_by_customer",
    "refund_id": _OBJECT_ID,
    "request_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "requested_by": USER_ID,
    "resolved_by": USER_ID,
    "reversal_id": _OBJECT_ID,
    "seller_id": None,
    "tracking_number": "JJD0003320012345678",
    "url": "https://example.com/hooks",
}
_FAILURES = {"payment": "card_declined", "payout": "account_closed", "refund": "expired_or_canceled_card"}


def payload_of(event_type: str, version: int, data: type[BaseModel]) -> dict[str, Any]:
    """Return a payload of that type of event, whose data has these fields."""
    return {
        "id": EVENT_ID,
        "type": event_type,
        "version": version,
        "timestamp": _AT,
        "subject_id": PAYMENT_ID if event_type.startswith(("payment.", "refund.", "dispute.")) else _OBJECT_ID,
        "sequence": 4711,
        "data": {name: _value(event_type, name, field.annotation) for name, field in data.model_fields.items()},
    }


def _value(event_type: str, name: str, kind: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return str(next(iter(kind)))
    if name == "failure_code":
        failure = _FAILURES.get(event_type.partition(".")[0], "country_unsupported")
        return failure if event_type.endswith("failed") else None
    return _FIELDS[name]
