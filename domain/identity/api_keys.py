"""API keys: what programs call with, limited to scopes."""

import hmac
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from domain.clock import Clock
from domain.errors import Conflict, Forbidden, NotFound, Unauthenticated
from domain.events import event
from domain.identity.model import ApiKey, Principal, Scope, User
from domain.identity.ports import IdentityTransaction
from domain.identity.tokens import digest, new_api_key, prefix_of
from domain.ids import ApiKeyId, UserId, uuid7
from domain.pages import Page, PageRequest
from domain.transactions import Begin

MAX_KEYS = 50
"""The keys that a user may have alive at once."""

_NO_HASH = bytes(32)


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key, and what is shown of it once: the credential itself."""

    key: ApiKey
    credential: str


class ApiKeyService:
    """The API keys."""

    def __init__(
        self,
        begin: Begin[IdentityTransaction],
        clock: Clock,
        *,
        each: Begin[IdentityTransaction] | None = None,
    ) -> None:
        """Keep the collaborators; `each` begins what is a single statement."""
        self._begin = begin
        self._each = each or begin
        self._clock = clock

    async def create(self, principal: Principal, name: str, scopes: Collection[Scope]) -> NewApiKey:
        """Make a key of the caller. Errors: Conflict `too_many_api_keys`; Forbidden `user_suspended`."""
        now = self._clock.now()
        prefix, credential = new_api_key()
        key = ApiKey(
            id=ApiKeyId(uuid7()),
            user_id=principal.user_id,
            name=name,
            prefix=prefix,
            hash=digest(credential),
            scopes=frozenset(scopes),
            created_at=now,
        )
        async with self._begin() as tx:
            # Locked, so that neither two requests at once pass the limit, nor one survives a suspension.
            user = await tx.users.lock(principal.user_id)
            if user is None or user.suspended_at is not None:
                raise Forbidden("this account is suspended", code="user_suspended")
            if await tx.api_keys.count(user.id) >= MAX_KEYS:
                raise Conflict(f"at most {MAX_KEYS} API keys are alive at once", code="too_many_api_keys")
            await tx.api_keys.add(key)
            made = event("api_key.created", key.id, now, audience=[key.user_id], prefix=prefix)
            await tx.events.append([made])
            await tx.commit()
        return NewApiKey(key, credential)

    async def page(
        self, principal: Principal, request: PageRequest, *, user_id: UserId | None = None
    ) -> Page[ApiKey]:
        """Return a page of the caller's keys, or for an admin of all or of one user; newest first."""
        async with self._begin() as tx:
            return await tx.api_keys.page(principal, request, user_id=user_id)

    async def revoke(self, principal: Principal, key_id: ApiKeyId) -> None:
        """End one of the caller's keys, or for an admin anybody's. Errors: NotFound, also the second time."""
        now = self._clock.now()
        async with self._begin() as tx:
            key = await tx.api_keys.end(principal, key_id, now)
            if key is None:
                raise NotFound("there is no such API key", code="api_key_not_found")
            over = event("api_key.revoked", key_id, now, audience=[key.user_id], by=principal.user_id)
            await tx.events.append([over])
            await tx.commit()

    async def prove(self, credentials: Sequence[str]) -> list[Principal | Unauthenticated]:
        """Return whose keys these are, in order; Unauthenticated `api_key_invalid` in place of what is none."""
        prefixes = [prefix_of(credential) for credential in credentials]
        async with self._each() as tx:
            found = await tx.api_keys.by_prefixes({prefix for prefix in prefixes if prefix is not None})
        return [
            _compare(credential, found.get(prefix or ""))
            for credential, prefix in zip(credentials, prefixes, strict=True)
        ]

    async def note_uses(self, ids: Collection[ApiKeyId]) -> None:
        """Write that keys were used just now."""
        async with self._begin() as tx:
            await tx.api_keys.note_uses(sorted(ids), self._clock.now())
            await tx.commit()


def _compare(credential: str, found: tuple[ApiKey, User] | None) -> Principal | Unauthenticated:
    expected = found[0].hash if found else _NO_HASH
    if not hmac.compare_digest(digest(credential), expected) or found is None:
        return Unauthenticated("the API key is not valid", code="api_key_invalid")
    key, user = found
    return Principal(user.id, user.role, key_id=key.id, scopes=key.scopes)
