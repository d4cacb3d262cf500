"""Who uses the system, and what a role may do."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.errors import Forbidden
from domain.ids import ApiKeyId, SessionId, UserId


class Role(StrEnum):
    """What a user is here for; each has exactly one."""

    BUYER = "buyer"
    SELLER = "seller"
    FINANCE = "finance"
    ADMIN = "admin"


# Finance and admin users are made by an operator, `marketflow users create`.
OPEN_ROLES = frozenset({Role.BUYER, Role.SELLER})

OPERATOR = "operator"
"""Who has done what was done at the command line, where nobody has logged in."""


class Scope(StrEnum):
    """What an API key may be used for, within what its owner's role may do anyway."""

    CATALOG_READ = "catalog:read"
    CATALOG_WRITE = "catalog:write"
    ORDERS_READ = "orders:read"
    ORDERS_WRITE = "orders:write"
    PAYMENTS_READ = "payments:read"
    PAYMENTS_WRITE = "payments:write"
    RESULTS_READ = "results:read"
    RESULTS_WRITE = "results:write"
    SELLERS_READ = "sellers:read"
    SELLERS_WRITE = "sellers:write"
    FINANCE_READ = "finance:read"
    FINANCE_WRITE = "finance:write"


@dataclass(frozen=True, slots=True)
class User:
    """A person or a program with credentials; `email` is normalised."""

    id: UserId
    email: str
    password_hash: str
    role: Role
    created_at: datetime
    suspended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """The proven caller of a request, by a session or by an API key.

    `scopes` are None in a session, where the role alone limits what may be done.
    """

    user_id: UserId
    role: Role
    session_id: SessionId | None = None
    key_id: ApiKeyId | None = None
    scopes: frozenset[Scope] | None = None

    @property
    def sees_all(self) -> bool:
        """Whether other people's payments and orders may be read."""
        return self.role is Role.FINANCE or self.role is Role.ADMIN


def require_role(principal: Principal, *roles: Role) -> None:
    """Refuse a caller whose role is not among those. Errors: Forbidden."""
    check_role(principal.role, *roles)


def check_role(role: Role, *roles: Role) -> None:
    """Refuse a role that is not among those. Errors: Forbidden."""
    if role not in roles:
        allowed = ", ".join(roles)
        raise Forbidden(f"this needs one of the roles: {allowed}", code="role_not_allowed")


class EndReason(StrEnum):
    """Why a session is over before its time."""

    LOGGED_OUT = "logged_out"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a reason, not a secret
    TOKEN_REUSED = "token_reused"  # noqa: S105 - the same
    SUSPENDED = "suspended"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class Session:
    """What a login begins: the family of all refresh tokens that descend from it."""

    id: SessionId
    user_id: UserId
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """One generation of a session's refresh tokens; the token itself is known to its client alone.

    The newest generation has no `rotated_at`. `seed` makes its successor from it, until the successor is used.
    """

    hash: bytes
    session_id: SessionId
    generation: int
    expires_at: datetime
    rotated_at: datetime | None = None
    seed: bytes | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A credential of a program; `prefix` is the part of it that may be shown."""

    id: ApiKeyId
    user_id: UserId
    name: str
    prefix: str
    hash: bytes
    scopes: frozenset[Scope]
    created_at: datetime
    last_used_at: datetime | None = None
    ended_at: datetime | None = None
