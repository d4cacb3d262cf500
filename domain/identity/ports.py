"""What identity needs from outside."""

from typing import Protocol

from domain.identity.model import User
from domain.transactions import Transaction


class UserRepository(Protocol):
    """The users."""

    async def add(self, user: User) -> bool:
        """Insert a user, and the seller's row where it is one; return False when the address is taken."""
        ...

    async def by_email(self, email: str) -> User | None:
        """Return the user of a normalised address."""
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
