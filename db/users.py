"""Users in PostgreSQL."""

from collections.abc import Collection, Mapping

from sqlalchemy import text

from db.connection import Connection
from domain.identity.model import Role, User
from domain.ids import UserId

_ADD = text(
    """
    INSERT INTO users (id, email, password_hash, role, created_at)
    VALUES (:id, :email, :password_hash, :role, :created_at)
    ON CONFLICT (email) DO NOTHING
    RETURNING id
    """
)
_ADD_SELLER = text("INSERT INTO sellers (user_id) VALUES (:id)")
_BY_EMAIL = text("SELECT id, email, password_hash, role, created_at FROM users WHERE email = :email")
_SELLER_RATES = text("SELECT user_id, commission_bps FROM sellers WHERE user_id = ANY(:ids) ORDER BY user_id")


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
        row = (await self._connection.execute(_BY_EMAIL, {"email": email})).first()
        return User(row.id, row.email, row.password_hash, Role(row.role), row.created_at) if row else None

    async def seller_rates(self, ids: Collection[UserId]) -> Mapping[UserId, int | None]:
        """Return the sellers that exist, each with its own commission in basis points, if it has one."""
        rows = await self._connection.execute(_SELLER_RATES, {"ids": list(ids)})
        return {row.user_id: row.commission_bps for row in rows}
