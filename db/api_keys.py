"""API keys in PostgreSQL."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from db.connection import Connection, Row
from db.paging import cut
from db.sql import Sql
from domain.identity.model import ApiKey, Principal, Role, Scope, User
from domain.ids import ApiKeyId, UserId
from domain.pages import Page, PageRequest

_COLUMNS = "k.id, k.user_id, k.name, k.prefix, k.hash, k.scopes, k.created_at, k.last_used_at, k.ended_at"

_ADD = Sql(
    """
    INSERT INTO api_keys (id, user_id, name, prefix, hash, scopes, created_at)
    VALUES (:id, :user_id, :name, :prefix, :hash, :scopes, :created_at)
    """
)
_COUNT = Sql("SELECT count(*) FROM api_keys WHERE user_id = :user_id AND ended_at IS NULL")
_BY_PREFIXES = Sql(
    f"""
    SELECT {_COLUMNS}, u.email, u.password_hash, u.role, u.created_at AS registered_at, u.suspended_at
    FROM api_keys k JOIN users u ON u.id = k.user_id
    WHERE k.prefix = ANY(:prefixes) AND k.ended_at IS NULL
    ORDER BY k.prefix
    """
)
_PAGE = Sql(
    f"""
    SELECT {_COLUMNS} FROM api_keys k
    WHERE k.ended_at IS NULL AND (CAST(:after AS uuid) IS NULL OR k.id < :after)
    ORDER BY k.id DESC LIMIT :limit
    """
)
_PAGE_OF_USER = Sql(
    f"""
    SELECT {_COLUMNS} FROM api_keys k
    WHERE k.ended_at IS NULL AND k.user_id = :user_id AND (CAST(:after AS uuid) IS NULL OR k.id < :after)
    ORDER BY k.id DESC LIMIT :limit
    """
)
_END = Sql(
    f"""
    UPDATE api_keys k SET ended_at = :at
    WHERE k.id = :id AND k.ended_at IS NULL AND (:sees_all OR k.user_id = :user_id)
    RETURNING {_COLUMNS}
    """
)
_END_ALL = Sql(
    """
    UPDATE api_keys SET ended_at = :at
    WHERE id IN (SELECT id FROM api_keys WHERE user_id = :user_id AND ended_at IS NULL ORDER BY id FOR UPDATE)
    """
)
_NOTE_USES = Sql(
    """
    UPDATE api_keys SET last_used_at = greatest(last_used_at, :at)
    WHERE id IN (SELECT id FROM api_keys WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE)
    """
)


class ApiKeys:
    """`domain.identity.ports.ApiKeyRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def add(self, key: ApiKey) -> None:
        """Insert a key."""
        row = {
            "id": key.id,
            "user_id": key.user_id,
            "name": key.name,
            "prefix": key.prefix,
            "hash": key.hash,
            "scopes": sorted(key.scopes),
            "created_at": key.created_at,
        }
        await self._connection.execute(_ADD, row)

    async def count(self, user_id: UserId) -> int:
        """Return how many keys of a user are alive."""
        return int((await self._connection.execute(_COUNT, {"user_id": user_id})).scalar_one())

    async def by_prefixes(self, prefixes: Collection[str]) -> Mapping[str, tuple[ApiKey, User]]:
        """Return the keys that are alive, with their owners, by prefix."""
        rows = await self._connection.execute(_BY_PREFIXES, {"prefixes": list(prefixes)})
        return {row.prefix: (_key(row), _owner(row)) for row in rows}

    async def page(self, principal: Principal, request: PageRequest, *, user_id: UserId | None) -> Page[ApiKey]:
        """Return a page of the keys alive that the caller may see, newest first; of one user, if it is named."""
        if principal.role is not Role.ADMIN and user_id not in {None, principal.user_id}:
            return Page(())
        owner = user_id if principal.role is Role.ADMIN else principal.user_id
        values = {"after": request.after, "limit": request.limit + 1, "user_id": owner}
        rows = await self._connection.execute(_PAGE if owner is None else _PAGE_OF_USER, values)
        return cut([_key(row) for row in rows], request)

    async def end(self, principal: Principal, key_id: ApiKeyId, at: datetime) -> ApiKey | None:
        """End a key that the caller may see; None when there is no such key alive."""
        sees_all = principal.role is Role.ADMIN
        values = {"id": key_id, "user_id": principal.user_id, "sees_all": sees_all, "at": at}
        row = (await self._connection.execute(_END, values)).first()
        return _key(row) if row else None

    async def end_all(self, user_id: UserId, at: datetime) -> None:
        """End all keys of a user."""
        await self._connection.execute(_END_ALL, {"user_id": user_id, "at": at})

    async def note_uses(self, ids: Sequence[ApiKeyId], at: datetime) -> None:
        """Write that keys were used."""
        await self._connection.execute(_NOTE_USES, {"ids": list(ids), "at": at})


def _key(row: Row) -> ApiKey:
    return ApiKey(
        id=row.id,
        user_id=row.user_id,
        name=row.name,
        prefix=row.prefix,
        hash=row.hash,
        scopes=frozenset(map(Scope, row.scopes)),
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        ended_at=row.ended_at,
    )


def _owner(row: Row) -> User:
    return User(row.user_id, row.email, row.password_hash, Role(row.role), row.registered_at, row.suspended_at)
