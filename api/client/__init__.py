"""The typed Python client of MarketFlow. It imports nothing of the server, and can be installed alone."""

from .client import Client
from .errors import (
    Conflict,
    Forbidden,
    Invalid,
    MarketFlowError,
    NotFound,
    RateLimited,
    Refused,
    StillPending,
    Unanswered,
    Unauthenticated,
    Unavailable,
    WebhookInvalid,
)
from .events import EventStream
from .models import FINAL, SETTLED, Event, Order, Payment, Product, Refund, User
from .sending import NEVER, Request, Retry, new_key
from .sync import SyncClient
from .webhooks import verify_webhook

__all__ = [
    "FINAL",
    "NEVER",
    "SETTLED",
    "Client",
    "Conflict",
    "Event",
    "EventStream",
    "Forbidden",
    "Invalid",
    "MarketFlowError",
    "NotFound",
    "Order",
    "Payment",
    "Product",
    "RateLimited",
    "Refund",
    "Refused",
    "Request",
    "Retry",
    "StillPending",
    "SyncClient",
    "Unanswered",
    "Unauthenticated",
    "Unavailable",
    "User",
    "WebhookInvalid",
    "new_key",
    "verify_webhook",
]
