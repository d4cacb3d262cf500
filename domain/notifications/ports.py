"""What telling clients of events needs from outside."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from domain.events import EventLog
from domain.identity.model import Principal
from domain.ids import DeliveryId, EventId, UserId, WebhookEndpointId
from domain.notifications.model import (
    Answer,
    Conclusion,
    Delivery,
    DeliveryStatus,
    LeasedDelivery,
    Redelivery,
    WebhookEndpoint,
)
from domain.pages import Page, PageRequest
from domain.transactions import Transaction


class SecretBox(Protocol):
    """Keeps secrets so that the database alone does not give them away."""

    def seal(self, secret: str) -> str:
        """Return the secret encrypted."""
        ...

    def open(self, sealed: str) -> str:
        """Return the secret again. Errors: Unavailable `encryption_key_missing`."""
        ...

    def reseal(self, sealed: str) -> str:
        """Return it encrypted with the newest key, as it is if it is so already. Errors: as `open`."""
        ...


class WebhookSender(Protocol):
    """HTTP to the outside. Never raises for what the endpoint or the network do: all is an answer."""

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Post a body, once, and return how it ended, within the timeout."""
        ...


class WebhookEndpointRepository(Protocol):
    """The endpoints."""

    async def add(self, endpoint: WebhookEndpoint, *, most: int) -> bool:
        """Insert an endpoint; return False when its owner has as many as are allowed."""
        ...

    async def visible(self, principal: Principal, endpoint_id: WebhookEndpointId) -> WebhookEndpoint | None:
        """Return an endpoint of the caller, or of anybody to an admin; None when it is deleted."""
        ...

    async def page(
        self, principal: Principal, request: PageRequest, *, user_id: UserId | None
    ) -> Page[WebhookEndpoint]:
        """Return a page of the endpoints that the caller may see, newest first; of one user, if it is named."""
        ...

    async def lock(self, ids: Sequence[WebhookEndpointId]) -> Mapping[WebhookEndpointId, WebhookEndpoint]:
        """Lock endpoints until the transaction ends, in sorted order, and return those that exist, by id.

        Whoever changes deliveries of an endpoint, or takes them, locks it first.
        """
        ...

    async def save(self, endpoints: Sequence[WebhookEndpoint]) -> None:
        """Write what changed of locked endpoints."""
        ...


class DeliveryRepository(Protocol):
    """The deliveries. The event log inserts them, with the event and in its transaction."""

    async def by_id(self, delivery_id: DeliveryId) -> Delivery | None:
        """Return a delivery with the newest of its attempts."""
        ...

    async def page(
        self, endpoint_id: WebhookEndpointId, request: PageRequest, *, status: DeliveryStatus | None
    ) -> Page[Delivery]:
        """Return a page of an endpoint's deliveries, the newest event first; the cursor is an event's id."""
        ...

    async def lease(
        self, rooms: Mapping[WebhookEndpointId, int], now: datetime, locked_until: datetime, *, limit: int
    ) -> Sequence[LeasedDelivery]:
        """Take due deliveries of locked endpoints, so many of each as it has room for beside those on their way.

        At most `limit`, dealt out one an endpoint and round, those with the fewest on their way first; the oldest
        of each. Counts the attempt.
        """
        ...

    async def conclude(self, conclusions: Sequence[Conclusion]) -> None:
        """Write what became of leased deliveries, log the attempts, and end the leases."""
        ...

    async def ask_again(self, delivery_id: DeliveryId, at: datetime) -> None:
        """Make a delivery of a locked endpoint due, as if it were new."""
        ...

    async def ask_again_for(
        self, endpoint: WebhookEndpoint, event_ids: Sequence[EventId], at: datetime
    ) -> Redelivery:
        """Make deliveries of named events due that a locked endpoint wants and its owner may see.

        Those of events that it missed are made; those that are being sent are left alone.
        """
        ...

    async def ask_again_between(
        self,
        endpoint: WebhookEndpoint,
        since: datetime,
        until: datetime,
        at: datetime,
        *,
        only_failed: bool,
        after: EventId | None = None,
    ) -> Redelivery:
        """Make deliveries of the events that a locked endpoint wants due, from a time up to another.

        Those of events that it missed are made; those that wait already are left alone. Looks at a bounded
        number of events, `after` one, and tells where to go on.
        """
        ...

    async def prune(self, before: datetime, now: datetime, *, limit: int) -> int:
        """Delete deliveries promised before that time, with their logs, and what waits for deleted endpoints.

        Leaves what an enabled endpoint waits for, and what is being sent. Returns how many went, at most `limit`.
        """
        ...


class NotificationsTransaction(Transaction, Protocol):
    """The repositories of this context."""

    @property
    def webhook_endpoints(self) -> WebhookEndpointRepository:
        """The endpoints."""
        ...

    @property
    def deliveries(self) -> DeliveryRepository:
        """The deliveries."""
        ...

    @property
    def events(self) -> EventLog:
        """The event log."""
        ...
