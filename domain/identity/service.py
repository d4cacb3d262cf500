"""The users: registering them, replacing their passwords, suspending them."""

from dataclasses import replace
from datetime import datetime

from domain.clock import Clock
from domain.errors import Conflict, Forbidden, NotFound
from domain.events import event
from domain.identity.credentials import CredentialRules
from domain.identity.model import OPEN_ROLES, OPERATOR, EndReason, Principal, Role, User, require_role
from domain.identity.ports import IdentityTransaction
from domain.ids import UserId, uuid7
from domain.pages import Page, PageRequest
from domain.transactions import Begin


class IdentityService:
    """The users."""

    def __init__(self, begin: Begin[IdentityTransaction], rules: CredentialRules, clock: Clock) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._rules = rules
        self._clock = clock

    async def register(self, email: str, password: str, role: Role) -> User:
        """Create a buyer or a seller, who asks for it.

        Errors: Forbidden `role_not_open` for finance and admin; as `create`.
        """
        if role not in OPEN_ROLES:
            raise Forbidden("only buyers and sellers register themselves", code="role_not_open")
        return await self._add(email, password, role)

    async def create(self, email: str, password: str, role: Role) -> User:
        """Create a user of any role; for operators.

        Errors: Invalid for an address that is none, and for a password that is too short, too long or easily
        guessed; Conflict `email_taken`.
        """
        return await self._add(email, password, role, by=OPERATOR)

    async def replace_password(self, user: User, new: str, *, by: UserId | None = None) -> None:
        """Give a user, as it was proven or read, another password, and end all its sessions. API keys stay.

        `by` is None for an operator. Errors: Invalid as for a new user; Conflict `password_changed` when it was
        changed since.
        """
        password_hash = await self._rules.hash(new, email=user.email)
        now = self._clock.now()
        async with self._begin() as tx:
            current = await tx.users.lock(user.id)
            if current is None or current.password_hash != user.password_hash:
                # Perhaps by its owner, to keep the caller out.
                raise Conflict("the password was changed meanwhile", code="password_changed")
            await tx.users.set_password(user.id, password_hash)
            await tx.sessions.end_all(user.id, EndReason.PASSWORD_CHANGED, now)
            told = event("user.password_changed", user.id, now, audience=[user.id], by=by or OPERATOR)
            await tx.events.append([told])
            await tx.commit()

    async def suspend(self, principal: Principal, user_id: UserId) -> User:
        """Keep a user out, for an admin: its sessions and API keys end. Safe to repeat.

        Errors: Forbidden; Conflict `own_suspension`; NotFound.
        """
        require_role(principal, Role.ADMIN)
        if principal.user_id == user_id:
            raise Conflict("nobody suspends itself", code="own_suspension")
        return await self._set_suspended(user_id, self._clock.now(), by=principal)

    async def reinstate(self, principal: Principal, user_id: UserId) -> User:
        """Let a suspended user log in again, for an admin; its old keys stay ended. Safe to repeat.

        Errors: Forbidden, NotFound.
        """
        require_role(principal, Role.ADMIN)
        return await self._set_suspended(user_id, None, by=principal)

    async def page(self, principal: Principal, request: PageRequest, *, email: str | None = None) -> Page[User]:
        """Return a page of all users, newest first, or the one with that address; for an admin.

        Errors: Forbidden; Invalid for an address that is none.
        """
        require_role(principal, Role.ADMIN)
        async with self._begin() as tx:
            return await tx.users.page(request, email=self._rules.normalise(email) if email else None)

    async def get(self, principal: Principal, user_id: UserId) -> User:
        """Return a user, to itself or to an admin. Errors: NotFound."""
        if principal.user_id != user_id and principal.role is not Role.ADMIN:
            raise _not_found()
        async with self._begin() as tx:
            user = await tx.users.by_id(user_id)
        if user is None:
            raise _not_found()
        return user

    async def by_email(self, email: str) -> User:
        """Return the user with that address; for operators. Errors: Invalid, NotFound."""
        async with self._begin() as tx:
            user = await tx.users.by_email(self._rules.normalise(email))
        if user is None:
            raise _not_found()
        return user

    async def _add(self, email: str, password: str, role: Role, *, by: str | None = None) -> User:
        """Create a user, by an operator or else by itself, and tell of it without anything personal."""
        known_as = self._rules.normalise(email)
        password_hash = await self._rules.hash(password, email=known_as)
        now = self._clock.now()
        user = User(UserId(uuid7()), known_as, password_hash, role, now)
        async with self._begin() as tx:
            if not await tx.users.add(user):
                raise Conflict("this e-mail address is registered already", code="email_taken")
            made = event("user.created", user.id, now, audience=[user.id], role=str(role), by=by or user.id)
            await tx.events.append([made])
            await tx.commit()
        return user

    async def _set_suspended(self, user_id: UserId, at: datetime | None, *, by: Principal) -> User:
        now = self._clock.now()
        kind = "user.suspended" if at else "user.reinstated"
        async with self._begin() as tx:
            user = await tx.users.lock(user_id)
            if user is None:
                raise _not_found()
            if (user.suspended_at is None) is (at is None):
                return user
            await tx.users.set_suspended(user_id, at)
            if at is not None:
                await tx.sessions.end_all(user_id, EndReason.SUSPENDED, now)
                await tx.api_keys.end_all(user_id, now)
            await tx.events.append([event(kind, user_id, now, audience=[user_id], by=by.user_id)])
            await tx.commit()
            return replace(user, suspended_at=at)


def _not_found() -> NotFound:
    return NotFound("there is no such user", code="user_not_found")
