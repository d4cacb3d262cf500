"""What identity needs from outside."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.events import EventLog
from domain.identity.model import ApiKey, EndReason, Principal, RefreshToken, Session, User
from domain.ids import ApiKeyId, SessionId, UserId
from domain.pages import Page, PageRequest
from domain.transactions import Transaction

AddressNormaliser = Callable[[str], str]
"""Returns the one spelling of an e-mail address under which a user is known. Errors: Invalid `email_invalid`."""

BreachCheck = Callable[[str], bool]
"""Says whether a password is among those that have become known and are tried first."""


class UserRepository(Protocol):
    """The users."""

    async def add(self, user: User) -> bool:
        """Insert a user, and the seller's row where it is one; return False when the address is taken."""
        ...

    async def by_email(self, email: str) -> User | None:
        """Return the user of a normalised address."""
        ...

    async def by_id(self, user_id: UserId) -> User | None:
        """Return a user."""
        ...

    async def lock(self, user_id: UserId) -> User | None:
        """Return a user whose credentials and whose sessions nobody else changes before this transaction ends."""
        ...

    async def set_password(self, user_id: UserId, password_hash: str) -> None:
        """Replace a user's password."""
        ...

    async def renew_hash(self, user_id: UserId, *, old: str, new: str) -> bool:
        """Replace a password's hash by another one of the same password; return False where it is not `old`."""
        ...

    async def set_suspended(self, user_id: UserId, suspended_at: datetime | None) -> None:
        """Suspend a user, or with None take it back."""
        ...

    async def page(self, request: PageRequest, *, email: str | None) -> Page[User]:
        """Return a page of all users, newest first, or the one with a normalised address."""
        ...

    async def seller_rates(self, ids: Collection[UserId]) -> Mapping[UserId, int | None]:
        """Return the sellers that exist, each with its own commission in basis points, if it has one."""
        ...

    async def set_seller_rate(self, seller_id: UserId, commission_bps: int | None) -> bool:
        """Set a seller's own commission, or with None the default one; return False when there is no such seller.

        Locks the seller until the transaction ends.
        """
        ...


class SessionRepository(Protocol):
    """The sessions and their refresh tokens. A session is locked before its tokens, a user before its sessions."""

    async def start(self, session: Session, token: RefreshToken) -> None:
        """Insert a session with its first token."""
        ...

    async def lock(self, token_hash: bytes) -> tuple[Session, RefreshToken] | None:
        """Return the token with that hash and its session, which nobody else changes before this ends."""
        ...

    async def rotate(self, old: RefreshToken, new: RefreshToken) -> None:
        """Keep when `old` was rotated and its seed, insert `new`, and forget the seed that had made `old`."""
        ...

    async def end(self, session_id: SessionId, reason: EndReason, at: datetime) -> bool:
        """End a session; return False when it is over already."""
        ...

    async def end_all(self, user_id: UserId, reason: EndReason, at: datetime, *, except_newest: int = 0) -> None:
        """End a user's sessions, all or all but the newest."""
        ...

    async def ended(self, ids: Collection[SessionId]) -> Collection[SessionId]:
        """Return those of the sessions that are over before their time."""
        ...

    async def prune(self, before: datetime, *, limit: int) -> int:
        """Delete sessions and refresh tokens that expired before that time; return how many, at most `limit`."""
        ...


class ApiKeyRepository(Protocol):
    """The API keys."""

    async def add(self, key: ApiKey) -> None:
        """Insert a key."""
        ...

    async def count(self, user_id: UserId) -> int:
        """Return how many keys of a user are alive."""
        ...

    async def by_prefixes(self, prefixes: Collection[str]) -> Mapping[str, tuple[ApiKey, User]]:
        """Return the keys that are alive, with their owners, by prefix."""
        ...

    async def page(self, principal: Principal, request: PageRequest, *, user_id: UserId | None) -> Page[ApiKey]:
        """Return a page of the keys alive that the caller may see, newest first; of one user, if it is named."""
        ...

    async def end(self, principal: Principal, key_id: ApiKeyId, at: datetime) -> ApiKey | None:
        """End a key that the caller may see; None when there is no such key alive."""
        ...

    async def end_all(self, user_id: UserId, at: datetime) -> None:
        """End all keys of a user."""
        ...

    async def note_uses(self, ids: Sequence[ApiKeyId], at: datetime) -> None:
        """Write that keys were used."""
        ...


class RevocationRepository(Protocol):
    """The sessions and keys that ended before their time; the database itself notes them, by its own clock."""

    async def recent(self, within_s: float, *, after: UUID | None, limit: int) -> Sequence[UUID]:
        """Return the ids that were noted within the last seconds, sorted, at most `limit` that follow `after`."""
        ...

    async def prune(self, older_than_s: float, *, limit: int) -> int:
        """Delete the ids of longer ago; return how many, at most `limit`."""
        ...


class IdentityTransaction(Transaction, Protocol):
    """The repositories of this context."""

    @property
    def users(self) -> UserRepository:
        """The users."""
        ...

    @property
    def sessions(self) -> SessionRepository:
        """The sessions."""
        ...

    @property
    def api_keys(self) -> ApiKeyRepository:
        """The API keys."""
        ...

    @property
    def revocations(self) -> RevocationRepository:
        """What ended before its time."""
        ...

    @property
    def events(self) -> EventLog:
        """The event log."""
        ...


class PasswordHasher(Protocol):
    """Argon2id, off the event loop and bounded in how many run at once."""

    async def hash(self, password: str) -> str:
        """Return an encoded hash with its own salt and parameters. Errors: Unavailable `overloaded`."""
        ...

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Compare in the same time whether the hash is given, fits, or is None (no such user).

        Errors: Unavailable `overloaded`.
        """
        ...

    def is_outdated(self, password_hash: str) -> bool:
        """Say whether an encoded hash, which some password fits, has other parameters than new ones get."""
        ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to log in: to which account, known or not, and from which address."""

    account: str
    address: str


class LoginThrottle(Protocol):
    """How many wrong passwords an account and an address may try.

    A network from which the account logged in lately has tries of its own, so that strangers who use theirs up
    keep nobody out of there.
    """

    async def take(self, attempt: Attempt) -> None:
        """Count an attempt. Errors: RateLimited `login_throttled`; Unavailable where it cannot be counted."""
        ...

    async def give_back(self, attempt: Attempt) -> None:
        """Count an attempt no more, since nothing was compared. Never fails."""
        ...

    async def remember(self, attempt: Attempt) -> None:
        """Count an attempt no more, since it succeeded, and know its network for a while. Never fails."""
        ...
