"""Who uses the system, and what a role may do."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.errors import Forbidden
from domain.ids import UserId


class Role(StrEnum):
    """What a user is here for; each has exactly one."""

    BUYER = "buyer"
    SELLER = "seller"
    FINANCE = "finance"
    ADMIN = "admin"


# Finance and admin users are made by an operator, `marketflow users create`.
OPEN_ROLES = frozenset({Role.BUYER, Role.SELLER})


@dataclass(frozen=True, slots=True)
class User:
    """A person or a program with credentials; `email` is normalised."""

    id: UserId
    email: str
    password_hash: str
    role: Role
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Principal:
    """The proven caller of a request."""

    user_id: UserId
    role: Role

    @property
    def sees_all(self) -> bool:
        """Whether other people's payments and orders may be read."""
        return self.role in {Role.FINANCE, Role.ADMIN}


def require_role(principal: Principal, *roles: Role) -> None:
    """Refuse a caller whose role is not among those. Errors: Forbidden."""
    if principal.role not in roles:
        allowed = ", ".join(roles)
        raise Forbidden(f"this needs one of the roles: {allowed}", code="role_not_allowed")


def normalise_email(email: str) -> str:
    """Return the e-mail address under which a user is known: trimmed, in lower case."""
    return email.strip().lower()
