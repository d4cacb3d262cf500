"""Registering users and proving who they are."""

from domain.clock import Clock
from domain.errors import Conflict, Forbidden, Unauthenticated
from domain.identity.model import OPEN_ROLES, Role, User, normalise_email
from domain.identity.ports import IdentityTransaction, PasswordHasher
from domain.ids import UserId, uuid7
from domain.transactions import Begin


class IdentityService:
    """The users' front door."""

    def __init__(self, begin: Begin[IdentityTransaction], hasher: PasswordHasher, clock: Clock) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._hasher = hasher
        self._clock = clock

    async def register(self, email: str, password: str, role: Role) -> User:
        """Create a buyer or a seller.

        Errors: Forbidden `role_not_open` for finance and admin; Conflict `email_taken`.
        """
        if role not in OPEN_ROLES:
            raise Forbidden("only buyers and sellers register themselves", code="role_not_open")
        return await self.create(email, password, role)

    async def create(self, email: str, password: str, role: Role) -> User:
        """Create a user of any role; for operators. Errors: Conflict `email_taken`."""
        user = User(
            id=UserId(uuid7()),
            email=normalise_email(email),
            password_hash=await self._hasher.hash(password),
            role=role,
            created_at=self._clock.now(),
        )
        async with self._begin() as tx:
            if not await tx.users.add(user):
                raise Conflict("this e-mail address is registered already", code="email_taken")
            await tx.commit()
        return user

    async def authenticate(self, email: str, password: str) -> User:
        """Return the user whose password this is.

        An unknown address costs the same time as a wrong password. Errors: Unauthenticated
        `credentials_wrong`.
        """
        async with self._begin() as tx:
            user = await tx.users.by_email(normalise_email(email))
        if not await self._hasher.verify(user.password_hash if user else None, password) or user is None:
            raise Unauthenticated("e-mail address or password is wrong", code="credentials_wrong")
        return user
