"""Webhook endpoints and their deliveries, in memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.event_types import EventType, passes
from domain.events import Event
from domain.identity.model import Principal, Role
from domain.ids import DeliveryId, EventId, PaymentId, PayoutId, RefundId, UserId, WebhookEndpointId, uuid7
from domain.notifications.model import (
    Conclusion,
    Delivery,
    DeliveryStatus,
    EndpointStatus,
    LeasedDelivery,
    Origin,
    Redelivery,
    WebhookEndpoint,
)
from domain.pages import Page, PageRequest
from domain.payouts.model import Payout
from domain.sellers.model import SellerAccount
from tests.domain.fakes.state import DeliveryRow, State


class FakeWebhookEndpoints:
    def __init__(self, state: State) -> None:
        self._state = state

    async def add(self, endpoint: WebhookEndpoint, *, most: int) -> bool:
        owned = [e for e in self._state.webhook_endpoints.values() if e.owner_id == endpoint.owner_id]
        if sum(e.status is not EndpointStatus.DELETED for e in owned) >= most:
            return False
        self._state.webhook_endpoints[endpoint.id] = endpoint
        return True

    async def visible(self, principal: Principal, endpoint_id: WebhookEndpointId) -> WebhookEndpoint | None:
        endpoint = self._state.webhook_endpoints.get(endpoint_id)
        return endpoint if endpoint and self._may_see(principal, endpoint) else None

    async def page(
        self, principal: Principal, request: PageRequest, *, user_id: UserId | None
    ) -> Page[WebhookEndpoint]:
        seen = [e for e in self._state.webhook_endpoints.values() if self._may_see(principal, e)]
        return _page([e for e in seen if user_id in {None, e.owner_id}], request, lambda endpoint: endpoint.id)

    async def lock(self, ids: Sequence[WebhookEndpointId]) -> Mapping[WebhookEndpointId, WebhookEndpoint]:
        known = self._state.webhook_endpoints
        return {
            key: replace(known[key], is_owner_suspended=is_suspended(self._state, known[key].owner_id))
            for key in ids
            if key in known
        }

    async def save(self, endpoints: Sequence[WebhookEndpoint]) -> None:
        self._state.webhook_endpoints.update({endpoint.id: endpoint for endpoint in endpoints})

    def _may_see(self, principal: Principal, endpoint: WebhookEndpoint) -> bool:
        is_ours = principal.role is Role.ADMIN or endpoint.owner_id == principal.user_id
        return is_ours and endpoint.status is not EndpointStatus.DELETED


class FakeDeliveries:
    def __init__(self, state: State) -> None:
        self._state = state

    async def by_id(self, delivery_id: DeliveryId) -> Delivery | None:
        row = self._state.deliveries.get(delivery_id)
        return row.delivery if row else None

    async def page(
        self, endpoint_id: WebhookEndpointId, request: PageRequest, *, status: DeliveryStatus | None
    ) -> Page[Delivery]:
        found = [
            row.delivery for row in self._state.deliveries.values() if row.delivery.endpoint_id == endpoint_id
        ]
        found = [one for one in found if status is None or one.status is status]
        return _page(found, request, lambda delivery: delivery.event_id)

    async def lease(
        self, rooms: Mapping[WebhookEndpointId, int], now: datetime, locked_until: datetime, *, limit: int
    ) -> Sequence[LeasedDelivery]:
        offers = []
        for endpoint_id, room in rooms.items():
            ours = [row for row in self._state.deliveries.values() if row.delivery.endpoint_id == endpoint_id]
            busy = sum(row.delivery.locked_until is not None and row.delivery.locked_until > now for row in ours)
            due = sorted((r for r in ours if is_due(r, now)), key=lambda r: (r.delivery.due_at, r.delivery.id))
            offers += [(busy + place, busy, row) for place, row in enumerate(due[: max(room - busy, 0)], 1)]
        offers.sort(key=lambda offer: (offer[0], offer[2].delivery.id))
        return [self._take(row.delivery.id, busy, locked_until) for _, busy, row in offers[:limit]]

    async def conclude(self, conclusions: Sequence[Conclusion]) -> None:
        for one in conclusions:
            row = self._state.deliveries[one.delivery.id]
            is_ours = row.delivery.locked_until is not None and row.delivery.attempts == one.delivery.attempts
            after = replace(row.delivery, log=(one.attempt, *row.delivery.log)[:10])
            if is_ours:
                after = replace(after, status=one.status, due_at=one.due_at, locked_until=None)
            self._state.deliveries[one.delivery.id] = replace(row, delivery=after)

    async def ask_again(self, delivery_id: DeliveryId, at: datetime) -> None:
        row = self._state.deliveries[delivery_id]
        again = replace(row.delivery, status=DeliveryStatus.PENDING, due_at=at, locked_until=None)
        self._state.deliveries[delivery_id] = DeliveryRow(again)

    async def prune(self, before: datetime, now: datetime, *, limit: int) -> int:
        statuses = {key: endpoint.status for key, endpoint in self._state.webhook_endpoints.items()}
        over = [
            key
            for key, row in self._state.deliveries.items()
            if row.delivery.locked_until is None
            and (
                (
                    row.delivery.created_at < before
                    and (
                        row.delivery.status is not DeliveryStatus.PENDING
                        or statuses[row.delivery.endpoint_id] is not EndpointStatus.ENABLED
                    )
                )
                or (statuses[row.delivery.endpoint_id] is EndpointStatus.DELETED and is_due(row, now))
            )
        ]
        for key in over[:limit]:
            del self._state.deliveries[key]
        return len(over[:limit])

    async def ask_again_for(
        self, endpoint: WebhookEndpoint, event_ids: Sequence[EventId], at: datetime
    ) -> Redelivery:
        known = self._known()
        scheduled = 0
        for event in self._state.events:
            if event.id not in event_ids or not _wants(endpoint, event):
                continue
            delivery = known.get((endpoint.id, event.id))
            if delivery is None:
                _add_delivery(self._state, endpoint, event, at)
            elif delivery.locked_until is None or delivery.locked_until <= at:
                await self.ask_again(delivery.id, at)
            else:
                continue
            scheduled += 1
        return Redelivery(scheduled, None)

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
        known = self._known()
        again = {DeliveryStatus.FAILED} if only_failed else {DeliveryStatus.FAILED, DeliveryStatus.DELIVERED}
        scheduled = 0
        for event in self._state.events:
            if not (since <= event.created_at < until and _wants(endpoint, event)) or (
                after is not None and event.id <= after
            ):
                continue
            delivery = known.get((endpoint.id, event.id))
            if delivery is None:
                _add_delivery(self._state, endpoint, event, at)
            elif delivery.status in again:
                await self.ask_again(delivery.id, at)
            else:
                continue
            scheduled += 1
        return Redelivery(scheduled, None)

    def _known(self) -> dict[tuple[WebhookEndpointId, EventId], Delivery]:
        rows = self._state.deliveries.values()
        return {(row.delivery.endpoint_id, row.delivery.event_id): row.delivery for row in rows}

    def _take(self, delivery_id: DeliveryId, busy: int, locked_until: datetime) -> LeasedDelivery:
        row = self._state.deliveries[delivery_id]
        leased = replace(
            row.delivery, attempts=row.delivery.attempts + 1, due_at=locked_until, locked_until=locked_until
        )
        self._state.deliveries[delivery_id] = DeliveryRow(leased, row.tries + 1)
        place, event = next(
            (place, event) for place, event in enumerate(self._state.events, 1) if event.id == leased.event_id
        )
        return LeasedDelivery(
            id=delivery_id,
            endpoint_id=leased.endpoint_id,
            attempts=leased.attempts,
            tries=row.tries + 1,
            busy=busy,
            sequence=place,
            event_id=event.id,
            event_type=event.type,
            subject_id=event.subject_id,
            data=event.data,
            occurred_at=event.created_at,
            origin=self._origin(event),
        )

    def _origin(self, event: Event) -> Origin | None:
        if refund_id := event.data.get("refund_id"):
            refund = self._state.refunds.get(RefundId(UUID(str(refund_id))))
            if refund is not None and refund.request_id is not None:
                return Origin(refund.payment_id, refund.traceparent, refund.request_id)
        asked: Payout | SellerAccount | None = self._state.payouts.get(PayoutId(event.subject_id))
        payment_id = UUID(str(event.data.get("payment_id") or event.subject_id))
        payment = self._state.payments.get(PaymentId(payment_id))
        if asked is None and payment is not None:
            return Origin(payment.id, payment.traceparent, payment.request_id)
        if event.type.startswith(("seller.onboarding", "seller.payouts")):
            asked = self._state.seller_accounts.get(UserId(event.subject_id))
        return Origin(None, asked.traceparent, asked.request_id) if asked else None


def append_events(state: State, events: Sequence[Event]) -> None:
    state.events.extend(events)
    for event in events:
        # A name that is not registered is one that no client can ask for.
        assert event.type in set(EventType)
        for endpoint in state.webhook_endpoints.values():
            is_told = endpoint.status is EndpointStatus.ENABLED and not is_suspended(state, endpoint.owner_id)
            if is_told and _wants(endpoint, event):
                _add_delivery(state, endpoint, event, event.created_at)


def is_suspended(state: State, user_id: UserId) -> bool:
    user = state.users.get(user_id)
    return user is not None and user.suspended_at is not None


def is_due(row: DeliveryRow, now: datetime) -> bool:
    return row.delivery.due_at is not None and row.delivery.due_at <= now


def _wants(endpoint: WebhookEndpoint, event: Event) -> bool:
    hears = endpoint.sees_all or endpoint.owner_id in event.audience
    return hears and passes(event.type, endpoint.events)


def _add_delivery(state: State, endpoint: WebhookEndpoint, event: Event, at: datetime) -> None:
    delivery = Delivery(
        id=DeliveryId(uuid7()),
        endpoint_id=endpoint.id,
        event_id=event.id,
        event_type=event.type,
        status=DeliveryStatus.PENDING,
        attempts=0,
        due_at=at,
        locked_until=None,
        created_at=at,
    )
    state.deliveries[delivery.id] = DeliveryRow(delivery)


def _page(rows: Sequence[Any], request: PageRequest, key: Callable[[Any], UUID]) -> Page[Any]:
    found = sorted(
        (row for row in rows if request.after is None or key(row) < request.after), key=key, reverse=True
    )
    page = found[: request.limit]
    return Page(page, key(page[-1]) if len(found) > request.limit else None)
