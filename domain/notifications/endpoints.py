"""Webhook endpoints as their owners see them: made, rotated, brought back, and what was sent to them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from domain.clock import Clock
from domain.errors import Conflict, Invalid, NotFound
from domain.event_types import FILTERS
from domain.identity.model import Principal
from domain.ids import UserId, WebhookEndpointId, uuid7
from domain.notifications.model import (
    MAX_FORMER_SECRETS,
    Delivery,
    DeliveryStatus,
    EndpointStatus,
    FormerSecret,
    WebhookEndpoint,
)
from domain.notifications.ports import NotificationsTransaction, SecretBox
from domain.notifications.signatures import new_secret
from domain.notifications.targets import Resolver, is_public, read_target
from domain.pages import Page, PageRequest
from domain.transactions import Begin
from domain.work import Announcer, Work

MAX_ENDPOINTS = 16
"""How many endpoints one user may have: each event is delivered to all of them."""


class EndpointService:
    """The endpoints. An admin may do all of this with everybody's."""

    def __init__(
        self,
        begin: Begin[NotificationsTransaction],
        announcer: Announcer,
        resolver: Resolver,
        box: SecretBox,
        clock: Clock,
        *,
        allow_private_targets: bool,
    ) -> None:
        """Keep the collaborators; private targets are for development alone."""
        self._begin = begin
        self._announcer = announcer
        self._resolver = resolver
        self._box = box
        self._clock = clock
        self._allow_private = allow_private_targets

    async def create(self, principal: Principal, url: str, events: Sequence[str]) -> tuple[WebhookEndpoint, str]:
        """Create an endpoint of the caller; return it with its secret, which nobody can read again.

        Errors: Invalid `url_invalid`, `url_unresolvable`, `target_refused`, `event_type_unknown`; Conflict
        `too_many_endpoints`; RateLimited `too_many_lookups` and Unavailable while too many names are looked up.
        """
        _check_filters(events)
        await self._check_target(principal, url)
        secret, now = new_secret(), self._clock.now()
        endpoint = WebhookEndpoint(
            id=WebhookEndpointId(uuid7()),
            owner_id=principal.user_id,
            sees_all=principal.sees_all,
            url=url,
            events=tuple(sorted(set(events))),
            secret=self._box.seal(secret),
            status=EndpointStatus.ENABLED,
            created_at=now,
            updated_at=now,
        )
        async with self._begin() as tx:
            if not await tx.webhook_endpoints.add(endpoint, most=MAX_ENDPOINTS):
                raise Conflict(f"a user has at most {MAX_ENDPOINTS} endpoints", code="too_many_endpoints")
            await tx.commit()
        return endpoint, secret

    async def get(self, principal: Principal, endpoint_id: WebhookEndpointId) -> WebhookEndpoint:
        """Return an endpoint. Errors: NotFound."""
        async with self._begin() as tx:
            return await _visible(tx, principal, endpoint_id)

    async def page(
        self, principal: Principal, request: PageRequest, *, user_id: UserId | None = None
    ) -> Page[WebhookEndpoint]:
        """Return a page of the caller's endpoints, or for an admin of all or of one user; newest first."""
        async with self._begin() as tx:
            return await tx.webhook_endpoints.page(principal, request, user_id=user_id)

    async def delete(self, principal: Principal, endpoint_id: WebhookEndpointId) -> None:
        """Delete an endpoint; what waits for it is not sent any more. Errors: NotFound. Locks the endpoint."""
        now = self._clock.now()
        async with self._begin() as tx:
            endpoint = await lock_visible(tx, principal, endpoint_id)
            # The row stays for what was sent; the secrets need not.
            deleted = replace(
                endpoint,
                status=EndpointStatus.DELETED,
                secret="",
                previous_secret=None,
                previous_expires_at=None,
                older=(),
                updated_at=now,
            )
            await tx.webhook_endpoints.save([deleted])
            await tx.commit()

    async def rotate(
        self, principal: Principal, endpoint_id: WebhookEndpointId, *, overlap_s: int
    ) -> tuple[WebhookEndpoint, str]:
        """Give an endpoint a new secret, and return it; for that many seconds the old one signs as well.

        So do those before it, until their own times end: the answer to an earlier rotation may be lost, or its
        secret not be everywhere yet. With no seconds none of them does. Errors: NotFound. Locks the endpoint.
        """
        secret, now = new_secret(), self._clock.now()
        until = now + timedelta(seconds=overlap_s)
        async with self._begin() as tx:
            endpoint = await lock_visible(tx, principal, endpoint_id)
            rotated = replace(
                endpoint,
                secret=self._box.seal(secret),
                previous_secret=endpoint.secret if overlap_s else None,
                previous_expires_at=until if overlap_s else None,
                older=_shortened(endpoint.former_secrets(now), until) if overlap_s else (),
                updated_at=now,
            )
            await tx.webhook_endpoints.save([rotated])
            await tx.commit()
        return rotated, secret

    async def activate(self, principal: Principal, endpoint_id: WebhookEndpointId) -> WebhookEndpoint:
        """Bring a disabled endpoint back, or end the rest of an enabled one, and send what waits for it.

        Errors: NotFound; those of the URL, as at its creation. Locks the endpoint.
        """
        await self._check_target(principal, (await self.get(principal, endpoint_id)).url)
        now = self._clock.now()
        async with self._begin() as tx:
            endpoint = await lock_visible(tx, principal, endpoint_id)
            if endpoint.status is EndpointStatus.ENABLED and endpoint.resume_at is None:
                return endpoint
            active = replace(
                endpoint,
                status=EndpointStatus.ENABLED,
                disabled_reason=None,
                failures=0,
                failing_since=None,
                resume_at=None,
                updated_at=now,
            )
            await tx.webhook_endpoints.save([active])
            await tx.commit()
        self._announcer.announce(Work.DELIVERIES, [endpoint_id])
        return active

    async def deliveries(
        self,
        principal: Principal,
        endpoint_id: WebhookEndpointId,
        request: PageRequest,
        *,
        status: DeliveryStatus | None = None,
    ) -> Page[Delivery]:
        """Return a page of an endpoint's deliveries with their newest attempts. Errors: NotFound."""
        async with self._begin() as tx:
            await _visible(tx, principal, endpoint_id)
            return await tx.deliveries.page(endpoint_id, request, status=status)

    async def _check_target(self, principal: Principal, url: str) -> None:
        """Refuse a URL that we must not call. The names' service is asked outside of any transaction."""
        target = read_target(url, allow_private=self._allow_private)
        if self._allow_private:
            return
        addresses = await self._resolver.resolve(target.host, target.port, user_id=principal.user_id)
        if not all(is_public(address) for address in addresses):
            raise Invalid("the URL must lead to a public address", code="target_refused")


def _shortened(former: Sequence[FormerSecret], until: datetime) -> tuple[FormerSecret, ...]:
    """Return secrets that sign beside the one just replaced: none for longer than that one."""
    kept = former[: MAX_FORMER_SECRETS - 1]
    return tuple(replace(one, expires_at=min(one.expires_at, until)) for one in kept)


def _check_filters(events: Sequence[str]) -> None:
    unknown = sorted(set(events) - FILTERS)
    if unknown:
        raise Invalid("there are no such events", code="event_type_unknown", events=unknown)


async def _visible(
    tx: NotificationsTransaction, principal: Principal, endpoint_id: WebhookEndpointId
) -> WebhookEndpoint:
    endpoint = await tx.webhook_endpoints.visible(principal, endpoint_id)
    if endpoint is None:
        raise NotFound("there is no such webhook endpoint", code="webhook_endpoint_not_found")
    return endpoint


async def lock_visible(
    tx: NotificationsTransaction, principal: Principal, endpoint_id: WebhookEndpointId
) -> WebhookEndpoint:
    """Return an endpoint locked, as it is once nobody else changes it. Errors: NotFound."""
    await tx.webhook_endpoints.lock([endpoint_id])
    return await _visible(tx, principal, endpoint_id)
