"""All rows in memory, and what repositories over them share."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.catalog.model import Product
from domain.disputes.model import Dispute
from domain.events import Event
from domain.identity.model import ApiKey, EndReason, RefreshToken, Session, User
from domain.ids import (
    ApiKeyId,
    DeliveryId,
    DisputeId,
    JournalId,
    OrderId,
    PaymentId,
    PayoutId,
    ProductId,
    RefundId,
    ReversalId,
    SessionId,
    UserId,
    WebhookEndpointId,
)
from domain.ledger.model import Journal
from domain.notifications.model import Delivery, WebhookEndpoint
from domain.orders.model import Order, Shipment
from domain.pages import Page, PageRequest
from domain.payments.model import Payment
from domain.payouts.model import Destination, Payout, Reversal
from domain.refunds.model import Refund
from domain.sellers.model import SellerAccount
from domain.settlement.model import StripeEvent, StripeEventStatus
from domain.work import Work


@dataclass
class Due:
    """When a row wants to be looked at, may be announced, and until when somebody holds it."""

    due_at: datetime | None
    publish_at: datetime | None
    locked_until: datetime | None = None

    def copy(self) -> "Due":
        # PERF: every transaction copies all rows, and `replace` takes three times as long.
        return Due(self.due_at, self.publish_at, self.locked_until)

    def is_free(self, now: datetime) -> bool:
        return (
            self.due_at is not None
            and self.due_at <= now
            and (self.locked_until is None or self.locked_until <= now)
        )


@dataclass(frozen=True)
class PayoutRunRow:
    """A scheduled run."""

    locked_until: datetime
    after: UserId | None = None
    is_finished: bool = False


@dataclass
class DeliveryRow:
    """A delivery with what its owner does not see of it."""

    delivery: Delivery
    tries: int = 0


@dataclass
class State:
    """All rows."""

    users: dict[UserId, User] = field(default_factory=dict)
    rates: dict[UserId, int | None] = field(default_factory=dict)
    sessions: dict[SessionId, Session] = field(default_factory=dict)
    end_reasons: dict[SessionId, EndReason] = field(default_factory=dict)
    refresh_tokens: dict[bytes, RefreshToken] = field(default_factory=dict)
    api_keys: dict[ApiKeyId, ApiKey] = field(default_factory=dict)
    revoked: set[UUID] = field(default_factory=set)
    products: dict[ProductId, Product] = field(default_factory=dict)
    orders: dict[OrderId, Order] = field(default_factory=dict)
    shipments: list[Shipment] = field(default_factory=list)
    payments: dict[PaymentId, Payment] = field(default_factory=dict)
    refunds: dict[RefundId, Refund] = field(default_factory=dict)
    seller_accounts: dict[UserId, SellerAccount] = field(default_factory=dict)
    disputes: dict[DisputeId, Dispute] = field(default_factory=dict)
    destinations: dict[UserId, Destination] = field(default_factory=dict)
    payouts: dict[PayoutId, Payout] = field(default_factory=dict)
    payout_entries: dict[tuple[JournalId, int], PayoutId | None] = field(default_factory=dict)
    payout_runs: dict[datetime, PayoutRunRow] = field(default_factory=dict)
    reversals: dict[ReversalId, Reversal] = field(default_factory=dict)
    quarantined_payouts: dict[PayoutId | ReversalId, str] = field(default_factory=dict)
    stripe_events: dict[str, StripeEvent] = field(default_factory=dict)
    stripe_statuses: dict[str, StripeEventStatus] = field(default_factory=dict)
    stripe_handled: dict[str, datetime] = field(default_factory=dict)
    quarantined: dict[PaymentId, str] = field(default_factory=dict)
    quarantined_at: dict[PaymentId, datetime] = field(default_factory=dict)
    quarantined_refunds: dict[RefundId, str] = field(default_factory=dict)
    due: dict[Work, dict[Any, Due]] = field(default_factory=lambda: {work: {} for work in Work})
    refused_orders: set[OrderId] = field(default_factory=set)
    """Orders that may take no step, as if a trigger held them."""
    journals: list[Journal] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    webhook_endpoints: dict[WebhookEndpointId, WebhookEndpoint] = field(default_factory=dict)
    deliveries: dict[DeliveryId, DeliveryRow] = field(default_factory=dict)

    def copy(self) -> "State":
        due = {work: {key: row.copy() for key, row in rows.items()} for work, rows in self.due.items()}
        others = {name: getattr(self, name).copy() for name in self.__dataclass_fields__ if name != "due"}
        return State(**others, due=due)


class Repository:
    def __init__(self, state: State) -> None:
        self._state = state


def present_of(rows: Mapping[Any, Any], keys: Iterable[Any]) -> dict[Any, Any]:
    return {key: rows[key] for key in keys if key in rows}


def page_of(rows: Iterable[Any], request: PageRequest) -> Page[Any]:
    after = request.after
    found = sorted((row for row in rows if after is None or row.id < after), key=lambda row: row.id, reverse=True)
    page = found[: request.limit]
    return Page(page, page[-1].id if len(found) > request.limit else None)


def ordered_page_of(rows: Sequence[Any], request: PageRequest) -> Page[Any]:
    """Return the page of rows that are in the order of their list."""
    ids = [row.id for row in rows]
    start = ids.index(request.after) + 1 if request.after in ids else 0
    page = rows[start : start + request.limit]
    return Page(page, page[-1].id if len(rows) > start + request.limit else None)


def lease_due(rows: Mapping[Any, Due], ids: Sequence[Any], now: datetime, locked_until: datetime) -> list[Any]:
    leased = [key for key in ids if key in rows and rows[key].is_free(now)]
    for key in leased:
        rows[key].locked_until = rows[key].publish_at = locked_until
    return leased


def count_attempt(rows: dict[Any, Any], key: Any) -> Any:
    rows[key] = replace(rows[key], attempts=rows[key].attempts + 1)
    return rows[key]
