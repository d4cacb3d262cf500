"""Users in PostgreSQL."""

from collections.abc import Collection, Mapping
from datetime import datetime

from db.connection import Connection, Row
from db.paging import cut
from db.sql import Sql
from domain.identity.model import Role, User
from domain.ids import UserId
from domain.pages import Page, PageRequest

_COLUMNS = "id, email, password_hash, role, created_at, suspended_at"

_ADD = Sql(
    """
    INSERT INTO users (id, email, password_hash, role, created_at)
    VALUES (:id, :email, :password_hash, :role, :created_at)
    ON CONFLICT (email) DO NOTHING
    RETURNING id
    """
)
_ADD_SELLER = Sql("INSERT INTO sellers (user_id) VALUES (:id)")
_BY_EMAIL = Sql(f"SELECT {_COLUMNS} FROM users WHERE email = :email")
_BY_ID = Sql(f"SELECT {_COLUMNS} FROM users WHERE id = :id")
# Weaker than FOR UPDATE: rows that refer to the user, such as payments, are inserted meanwhile.
_LOCK = Sql(f"SELECT {_COLUMNS} FROM users WHERE id = :id FOR NO KEY UPDATE")
_SET_PASSWORD = Sql("UPDATE users SET password_hash = :password_hash WHERE id = :id")
_RENEW_HASH = Sql("UPDATE users SET password_hash = :new WHERE id = :id AND password_hash = :old RETURNING id")
_SET_SUSPENDED = Sql("UPDATE users SET suspended_at = :suspended_at WHERE id = :id")
_PAGE = Sql(
    f"""
    SELECT {_COLUMNS} FROM users
    WHERE (CAST(:after AS uuid) IS NULL OR id < :after)
    ORDER BY id DESC LIMIT :limit
    """
)
_PAGE_OF_EMAIL = Sql(
    f"""
    SELECT {_COLUMNS} FROM users
    WHERE email = :email AND (CAST(:after AS uuid) IS NULL OR id < :after)
    ORDER BY id DESC LIMIT :limit
    """
)
_SELLER_RATES = Sql("SELECT user_id, commission_bps FROM sellers WHERE user_id = ANY(:ids) ORDER BY user_id")

_SET_SELLER_RATE = Sql("UPDATE sellers SET commission_bps = :commission_bps WHERE user_id = :id RETURNING user_id")


class Users:
    """`domain.identity.ports.UserRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def add(self, user: User) -> bool:
        """Insert a user, and the seller's row where it is one; return False when the address is taken."""
        row = {
            "id": user.id,
            "email": user.email,
            "password_hash": user.password_hash,
            "role": user.role,
            "created_at": user.created_at,
        }
        added = (await self._connection.execute(_ADD, row)).first() is not None
        if added and user.role is Role.SELLER:
            await self._connection.execute(_ADD_SELLER, {"id": user.id})
        return added

    async def by_email(self, email: str) -> User | None:
        """Return the user of a normalised address."""
        return await self._one(_BY_EMAIL, email=email)

    async def by_id(self, user_id: UserId) -> User | None:
        """Return a user."""
        return await self._one(_BY_ID, id=user_id)

    async def lock(self, user_id: UserId) -> User | None:
        """Return a user whose credentials and whose sessions nobody else changes before this transaction ends."""
        return await self._one(_LOCK, id=user_id)

    async def set_password(self, user_id: UserId, password_hash: str) -> None:
        """Replace a user's password."""
        await self._connection.execute(_SET_PASSWORD, {"id": user_id, "password_hash": password_hash})

    async def renew_hash(self, user_id: UserId, *, old: str, new: str) -> bool:
        """Replace a password's hash by another one of the same password; return False where it is not `old`."""
        values = {"id": user_id, "old": old, "new": new}
        return (await self._connection.execute(_RENEW_HASH, values)).first() is not None

    async def set_suspended(self, user_id: UserId, suspended_at: datetime | None) -> None:
        """Suspend a user, or with None take it back."""
        await self._connection.execute(_SET_SUSPENDED, {"id": user_id, "suspended_at": suspended_at})

    async def page(self, request: PageRequest, *, email: str | None) -> Page[User]:
        """Return a page of all users, newest first, or the one with a normalised address."""
        values = {"after": request.after, "limit": request.limit + 1, "email": email}
        rows = await self._connection.execute(_PAGE if email is None else _PAGE_OF_EMAIL, values)
        return cut([_user(row) for row in rows], request)

    async def seller_rates(self, ids: Collection[UserId]) -> Mapping[UserId, int | None]:
        """Return the sellers that exist, each with its own commission in basis points, if it has one."""
        rows = await self._connection.execute(_SELLER_RATES, {"ids": list(ids)})
        return {row.user_id: row.commission_bps for row in rows}

    async def set_seller_rate(self, seller_id: UserId, commission_bps: int | None) -> bool:
        """Set a seller's own commission, None for the default one; return False where there is no such seller."""
        values = {"id": seller_id, "commission_bps": commission_bps}
        return (await self._connection.execute(_SET_SELLER_RATE, values)).first() is not None

    async def _one(self, statement: Sql, **values: object) -> User | None:
        row = (await self._connection.execute(statement, values)).first()
        return _user(row) if row else None


def _user(row: Row) -> User:
    return User(row.id, row.email, row.password_hash, Role(row.role), row.created_at, row.suspended_at)
