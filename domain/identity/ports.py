"""What identity needs from outside."""

from collections.abc import Collection, Mapping
from typing import Protocol

from domain.identity.model import User
from domain.ids import UserId
from domain.transactions import Transaction


class UserRepository(Protocol):
    """The users."""

    async def add(self, user: User) -> bool:
        """Insert a user, and the seller's row where it is one; return False when the address is taken."""
        ...

    async def by_email(self, email: str) -> User | None:
        """Return the user of a normalised address."""
        ...

    async def seller_rates(self, ids: Collection[UserId]) -> Mapping[UserId, int | None]:
        """Return the sellers that exist, each with its own commission in basis points, if it has one."""
        ...


class IdentityTransaction(Transaction, Protocol):
    """The repositories of this context."""

    @property
    def users(self) -> UserRepository:
        """The users."""
        ...


class PasswordHasher(Protocol):
    """Argon2id, off the event loop and bounded in how many run at once."""

    async def hash(self, password: str) -> str:
        """Return an encoded hash with its own salt and parameters."""
        ...

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Compare in the same time whether the hash is given, fits, or is None (no such user)."""
        ...
