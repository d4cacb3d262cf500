"""Webhook endpoints in PostgreSQL."""

from collections.abc import Mapping, Sequence

from db.connection import Connection, Row
from db.events import LETS_IN
from db.paging import cut
from db.sql import Sql
from domain.identity.model import Principal, Role
from domain.ids import UserId, WebhookEndpointId
from domain.notifications.model import DisabledReason, EndpointStatus, FormerSecret, WebhookEndpoint
from domain.pages import Page, PageRequest

_COLUMNS = f"""
    w.id, w.owner_id, w.sees_all, w.url, w.events, w.secret, w.status, w.created_at, w.updated_at,
    w.previous_secret, w.previous_expires_at, w.older_secrets, w.older_expires_at,
    w.disabled_reason, w.failures, w.failing_since, w.resume_at,
    NOT {LETS_IN} AS is_owner_suspended
"""
# Two requests of one owner wait for each other, else both would find room for one more.
_TAKE_TURN = Sql(
    "SELECT pg_advisory_xact_lock(hashtextextended('webhook_endpoints ' || CAST(:owner_id AS text), 0))"
)
_ADD = Sql(
    """
    INSERT INTO webhook_endpoints (id, owner_id, sees_all, url, events, secret, status, created_at, updated_at)
    SELECT CAST(:id AS uuid), CAST(:owner_id AS uuid), CAST(:sees_all AS boolean), :url, CAST(:events AS text[]),
           :secret, :status, CAST(:created_at AS timestamptz), CAST(:updated_at AS timestamptz)
    WHERE (SELECT count(*) FROM webhook_endpoints w WHERE w.owner_id = :owner_id AND w.status <> 'deleted') < :most
    RETURNING id
    """
)
_VISIBLE = Sql(
    f"""
    SELECT {_COLUMNS} FROM webhook_endpoints w
    WHERE w.id = :id AND w.status <> 'deleted' AND (:manages_all OR w.owner_id = :user_id)
    """
)
_PAGE_OF_USER = Sql(
    f"""
    SELECT {_COLUMNS} FROM webhook_endpoints w
    WHERE w.owner_id = :user_id AND w.status <> 'deleted' AND (CAST(:after AS uuid) IS NULL OR w.id < :after)
    ORDER BY w.id DESC LIMIT :limit
    """
)
_PAGE = Sql(
    f"""
    SELECT {_COLUMNS} FROM webhook_endpoints w
    WHERE w.status <> 'deleted' AND (CAST(:after AS uuid) IS NULL OR w.id < :after)
    ORDER BY w.id DESC LIMIT :limit
    """
)
_LOCK = Sql(f"SELECT {_COLUMNS} FROM webhook_endpoints w WHERE w.id = ANY(:ids) ORDER BY w.id FOR NO KEY UPDATE")
_SAVE = Sql(
    """
    UPDATE webhook_endpoints
    SET secret = :secret, previous_secret = :previous_secret, previous_expires_at = :previous_expires_at,
        older_secrets = CAST(:older_secrets AS text[]),
        older_expires_at = CAST(:older_expires_at AS timestamptz[]),
        status = :status, disabled_reason = :disabled_reason, failures = :failures,
        failing_since = :failing_since, resume_at = :resume_at, updated_at = :updated_at
    WHERE id = :id
    """
)
_SAVED_COLUMNS = (
    "id",
    "secret",
    "previous_secret",
    "previous_expires_at",
    "status",
    "disabled_reason",
    "failures",
    "failing_since",
    "resume_at",
    "updated_at",
)


class WebhookEndpoints:
    """`domain.notifications.ports.WebhookEndpointRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def add(self, endpoint: WebhookEndpoint, *, most: int) -> bool:
        """Insert an endpoint; return False when its owner has as many as are allowed."""
        values = {
            "id": endpoint.id,
            "owner_id": endpoint.owner_id,
            "sees_all": endpoint.sees_all,
            "url": endpoint.url,
            "events": list(endpoint.events),
            "secret": endpoint.secret,
            "status": endpoint.status,
            "created_at": endpoint.created_at,
            "updated_at": endpoint.updated_at,
            "most": most,
        }
        await self._connection.execute(_TAKE_TURN, {"owner_id": endpoint.owner_id})
        return (await self._connection.execute(_ADD, values)).first() is not None

    async def visible(self, principal: Principal, endpoint_id: WebhookEndpointId) -> WebhookEndpoint | None:
        """Return an endpoint of the caller, or of anybody to an admin; None when it is deleted."""
        values = {"id": endpoint_id, "user_id": principal.user_id, "manages_all": principal.role is Role.ADMIN}
        row = (await self._connection.execute(_VISIBLE, values)).first()
        return _endpoint(row) if row else None

    async def page(
        self, principal: Principal, request: PageRequest, *, user_id: UserId | None
    ) -> Page[WebhookEndpoint]:
        """Return a page of the endpoints that the caller may see, newest first; of one user, if it is named."""
        if principal.role is not Role.ADMIN and user_id not in {None, principal.user_id}:
            return Page(())
        owner = user_id if principal.role is Role.ADMIN else principal.user_id
        values: dict[str, object] = {"after": request.after, "limit": request.limit + 1}
        if owner is not None:
            values["user_id"] = owner
        rows = await self._connection.execute(_PAGE if owner is None else _PAGE_OF_USER, values)
        return cut([_endpoint(row) for row in rows], request)

    async def lock(self, ids: Sequence[WebhookEndpointId]) -> Mapping[WebhookEndpointId, WebhookEndpoint]:
        """Lock endpoints until the transaction ends, in sorted order, and return those that exist, by id."""
        rows = await self._connection.execute(_LOCK, {"ids": list(ids)})
        return {row.id: _endpoint(row) for row in rows}

    async def save(self, endpoints: Sequence[WebhookEndpoint]) -> None:
        """Write what changed of locked endpoints."""
        if endpoints:
            await self._connection.execute(_SAVE, [_saved(endpoint) for endpoint in endpoints])


def _saved(endpoint: WebhookEndpoint) -> dict[str, object]:
    return {
        **{name: getattr(endpoint, name) for name in _SAVED_COLUMNS},
        "older_secrets": [former.sealed for former in endpoint.older],
        "older_expires_at": [former.expires_at for former in endpoint.older],
    }


def _endpoint(row: Row) -> WebhookEndpoint:
    kept = dict(row._mapping)
    older = zip(kept.pop("older_secrets"), kept.pop("older_expires_at"), strict=True)
    reason = row.disabled_reason
    changed = {
        "older": tuple(FormerSecret(sealed, expires_at) for sealed, expires_at in older),
        "events": tuple(row.events),
        "status": EndpointStatus(row.status),
        "disabled_reason": DisabledReason(reason) if reason else None,
    }
    return WebhookEndpoint(**{**kept, **changed})
