"""What the contracts of webhooks share: endpoints, events, leases and their ends."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from domain.events import Event, event
from domain.ids import UserId, uuid7
from domain.notifications.decide import conclude
from domain.notifications.model import (
    Answered,
    Conclusion,
    DeliveryPolicy,
    EndpointStatus,
    LeasedDelivery,
    WebhookEndpoint,
)
from tests.builders import (
    NOW,
    an_endpoint,
)

UNTIL = NOW + timedelta(seconds=30)
LATER = NOW + timedelta(days=1)
"""However long the tests before took."""
LONG_AGO = NOW - timedelta(days=40)
POLICY = DeliveryPolicy()


async def add(tx: Any, owner_id: UserId, **changes: Any) -> WebhookEndpoint:
    """Store an endpoint; states other than enabled are reached as they are in life."""
    endpoint = an_endpoint(owner_id, **changes)
    fresh = replace(endpoint, status=EndpointStatus.ENABLED, disabled_reason=None, secret="sealed x")
    assert await tx.webhook_endpoints.add(fresh, most=100)
    await tx.webhook_endpoints.save([endpoint])
    return endpoint


def told(owner_id: UserId, kind: str = "order.paid", **changes: Any) -> Event:
    return replace(event(kind, uuid7(), NOW, audience=[owner_id], payment_id=str(uuid7())), **changes)


async def lease(tx: Any, *endpoints: WebhookEndpoint, room: int = 8, limit: int = 100) -> list[LeasedDelivery]:
    rooms = {endpoint.id: room for endpoint in endpoints}
    return list(await tx.deliveries.lease(rooms, NOW, UNTIL, limit=limit))


def ended(delivery: LeasedDelivery, status: int) -> Conclusion:
    return conclude(delivery, Answered(status, 12, "the start"), NOW, POLICY, 0.5)
