"""Sending again by hand: one delivery, named events, or all of a span of time."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from domain.clock import Clock
from domain.errors import Conflict, Invalid, NotFound
from domain.identity.model import Principal
from domain.ids import DeliveryId, EventId, WebhookEndpointId
from domain.notifications.endpoints import lock_visible
from domain.notifications.model import Delivery, DeliveryStatus, EndpointStatus, Redelivery, WebhookEndpoint
from domain.notifications.ports import NotificationsTransaction
from domain.transactions import Begin
from domain.work import Announcer, Work

MAX_NAMED = 100
"""How many events may be named at once."""


class RedeliveryService:
    """What owners ask for again, and admins with everybody's endpoints. A receiver knows by its id what it had."""

    def __init__(self, begin: Begin[NotificationsTransaction], announcer: Announcer, clock: Clock) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._announcer = announcer
        self._clock = clock

    async def retry(self, principal: Principal, delivery_id: DeliveryId) -> Delivery:
        """Send a delivery again now, whatever became of it, with its whole schedule before it; ends a rest.

        Errors: NotFound; Conflict `endpoint_disabled`, or `delivery_in_progress` while it is being sent. Locks the
        endpoint.
        """
        now = self._clock.now()
        async with self._begin() as tx:
            found = await tx.deliveries.by_id(delivery_id)
            if found is None or await tx.webhook_endpoints.visible(principal, found.endpoint_id) is None:
                raise NotFound("there is no such delivery", code="delivery_not_found")
            await _lock_enabled(tx, principal, found.endpoint_id)
            # Looked at again under the lock: a worker may have taken it meanwhile.
            current = await tx.deliveries.by_id(delivery_id) or found
            if current.locked_until is not None and current.locked_until > now:
                raise Conflict("the delivery is being sent", code="delivery_in_progress")
            await tx.deliveries.ask_again(delivery_id, now)
            await tx.commit()
        self._announcer.announce(Work.DELIVERIES, [found.endpoint_id])
        return replace(current, status=DeliveryStatus.PENDING, due_at=now)

    async def send_events(
        self, principal: Principal, endpoint_id: WebhookEndpointId, event_ids: Collection[EventId]
    ) -> Redelivery:
        """Send named events again now, whatever became of them; those that the endpoint missed as well.

        Left out is what does not exist, the endpoint does not want or its owner may not see, and what is being
        sent. Errors: NotFound; Conflict `endpoint_disabled`. Locks the endpoint.
        """
        now = self._clock.now()
        async with self._begin() as tx:
            endpoint = await _lock_enabled(tx, principal, endpoint_id)
            asked = await tx.deliveries.ask_again_for(endpoint, sorted(set(event_ids)), now)
            await tx.commit()
        self._announce(asked, endpoint_id)
        return asked

    async def send_span(
        self,
        principal: Principal,
        endpoint_id: WebhookEndpointId,
        since: datetime,
        until: datetime | None,
        *,
        only_failed: bool,
        after: EventId | None = None,
    ) -> Redelivery:
        """Send the events of a span of time again, and those that the endpoint missed while it was disabled.

        A long span is asked for in parts: go on `after` the event with which the one before ended.

        Errors: NotFound; Invalid `span_invalid`; Conflict `endpoint_disabled`. Locks the endpoint.
        """
        now = self._clock.now()
        end = min(until or now, now)
        if since >= end:
            raise Invalid("the span must end after its beginning, which must be past", code="span_invalid")
        async with self._begin() as tx:
            endpoint = await _lock_enabled(tx, principal, endpoint_id)
            asked = await tx.deliveries.ask_again_between(
                endpoint, since, end, now, only_failed=only_failed, after=after
            )
            await tx.commit()
        self._announce(asked, endpoint_id)
        return asked

    def _announce(self, asked: Redelivery, endpoint_id: WebhookEndpointId) -> None:
        if asked.scheduled:
            self._announcer.announce(Work.DELIVERIES, [endpoint_id])


async def _lock_enabled(
    tx: NotificationsTransaction, principal: Principal, endpoint_id: WebhookEndpointId
) -> WebhookEndpoint:
    """Lock an endpoint and end its rest: what is asked for now is not to wait for an hour."""
    endpoint = await lock_visible(tx, principal, endpoint_id)
    if endpoint.status is not EndpointStatus.ENABLED:
        raise Conflict("the endpoint is disabled; activate it first", code="endpoint_disabled")
    if endpoint.resume_at is not None:
        endpoint = replace(endpoint, resume_at=None)
        await tx.webhook_endpoints.save([endpoint])
    return endpoint
