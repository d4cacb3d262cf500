"""Sealing the stored secrets anew, after the key that seals was changed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from domain.errors import Unavailable
from domain.identity.model import Principal, Role
from domain.ids import UserId, WebhookEndpointId
from domain.notifications.model import EndpointStatus, WebhookEndpoint
from domain.notifications.ports import NotificationsTransaction, SecretBox
from domain.pages import MAX_LIMIT, PageRequest
from domain.transactions import Begin

_OPERATOR = Principal(UserId(UUID(int=0)), Role.ADMIN)


@dataclass(frozen=True, slots=True)
class Resealed:
    """How many endpoints were looked at and sealed anew; of the unreadable ones no key is known."""

    looked_at: int
    resealed: int
    unreadable: Sequence[WebhookEndpointId]


async def reseal(begin: Begin[NotificationsTransaction], box: SecretBox) -> Resealed:
    """Seal the secrets of all endpoints with the newest key, a page a transaction; deliveries go on meanwhile.

    Afterwards the older keys may be dropped, unless some were unreadable. Safe to repeat and to break off. Locks
    the endpoints of a page, by id.
    """
    looked_at, resealed, unreadable = 0, 0, list[WebhookEndpointId]()
    after: UUID | None = None
    while True:
        async with begin() as tx:
            page = await tx.webhook_endpoints.page(_OPERATOR, PageRequest(MAX_LIMIT, after), user_id=None)
            locked = await tx.webhook_endpoints.lock(sorted(endpoint.id for endpoint in page.rows))
            changed = []
            for endpoint in locked.values():
                try:
                    renewed = _renewed(endpoint, box)
                except Unavailable:
                    unreadable.append(endpoint.id)
                    continue
                if renewed != endpoint:
                    changed.append(renewed)
            await tx.webhook_endpoints.save(sorted(changed, key=lambda endpoint: endpoint.id))
            await tx.commit()
        looked_at, resealed = looked_at + len(locked), resealed + len(changed)
        after = page.next_after
        if after is None:
            return Resealed(looked_at, resealed, tuple(unreadable))


def _renewed(endpoint: WebhookEndpoint, box: SecretBox) -> WebhookEndpoint:
    if endpoint.status is EndpointStatus.DELETED:
        return endpoint
    previous = endpoint.previous_secret
    return replace(
        endpoint,
        secret=box.reseal(endpoint.secret),
        previous_secret=box.reseal(previous) if previous is not None else None,
        older=tuple(replace(former, sealed=box.reseal(former.sealed)) for former in endpoint.older),
    )
