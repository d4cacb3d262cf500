"""Sessions: logging in, staying logged in by refresh tokens that rotate, logging out."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto

from domain.clock import Clock
from domain.errors import Forbidden, Unauthenticated
from domain.events import event
from domain.identity.credentials import Proof
from domain.identity.model import EndReason, Principal, RefreshToken, Session, User
from domain.identity.ports import IdentityTransaction
from domain.identity.service import IdentityService
from domain.identity.tokens import digest, new_refresh_token, new_seed, successor
from domain.ids import SessionId, uuid7
from domain.transactions import Begin

MAX_SESSIONS = 100
"""A user's live sessions; a login beyond them ends the oldest. So ending them all stays one short statement."""


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """How long a session lasts, how long it lasts without a refresh, and how long a refresh may be repeated."""

    session_ttl_s: float = 30 * 86_400
    refresh_ttl_s: float = 14 * 86_400
    grace_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Grant:
    """What a client gets: whose session it is, and the token that keeps it going."""

    user: User
    session_id: SessionId
    refresh_token: str


class Use(Enum):
    """What it means that a refresh token is used."""

    ROTATION = auto()
    REPETITION = auto()
    REUSE = auto()
    VAIN = auto()


def judge(session: Session, token: RefreshToken, now: datetime, *, grace_s: float) -> Use:
    """Say what it means that this token is used now.

    The newest token is rotated. The one before it may be used again for a short while, as long as its successor
    has not been: then the answer with the successor may have been lost, or two requests of one client crossed,
    and the same successor is given again. Any other use of a rotated token means that two parties have it
    (RFC 9700, section 4.14.2). In a session that is over every token is vain.
    """
    if session.ended_at is not None or min(session.expires_at, token.expires_at) <= now:
        return Use.VAIN
    if token.rotated_at is None:
        return Use.ROTATION
    if token.seed is not None and now - token.rotated_at <= timedelta(seconds=grace_s):
        return Use.REPETITION
    return Use.REUSE


class SessionService:
    """The sessions."""

    def __init__(
        self,
        begin: Begin[IdentityTransaction],
        proof: Proof,
        users: IdentityService,
        clock: Clock,
        policy: SessionPolicy,
        *,
        each: Begin[IdentityTransaction] | None = None,
    ) -> None:
        """Keep the collaborators; `each` begins what is a single statement."""
        self._begin = begin
        self._each = each or begin
        self._proof = proof
        self._users = users
        self._clock = clock
        self._policy = policy

    async def log_in(self, email: str, password: str, *, address: str) -> Grant:
        """Begin a session; `address` is where the attempt comes from.

        Errors: as `Proof.of_user`; Forbidden `user_suspended`.
        """
        user = await self._proof.of_user(email, password, address=address)
        if user.suspended_at is not None:
            raise Forbidden("this account is suspended", code="user_suspended")
        now = self._clock.now()
        expires_at = now + timedelta(seconds=self._policy.session_ttl_s)
        session = Session(SessionId(uuid7()), user.id, now, expires_at)
        token = new_refresh_token()
        async with self._begin() as tx:
            if await tx.users.lock(user.id) != user:
                # The password or the user's standing changed after the proof: that one ended all sessions, too.
                raise Unauthenticated("e-mail address or password is wrong", code="credentials_wrong")
            await tx.sessions.end_all(user.id, EndReason.SUPERSEDED, now, except_newest=MAX_SESSIONS - 1)
            await tx.sessions.start(session, self._new_token(session, token, 1, now))
            await tx.commit()
        return Grant(user, session.id, token)

    async def refresh(self, refresh_token: str) -> Grant:
        """Rotate a refresh token. Two requests at once with one token are answered with the same successor.

        Errors: Unauthenticated `refresh_token_invalid` for one that is unknown, expired or of a session that is
        over; Unauthenticated `refresh_token_reused`, and the session is over, for one that was rotated before
        and is not a repetition (see `judge`). A retry is safe within the grace.
        """
        now = self._clock.now()
        async with self._begin() as tx:
            found = await tx.sessions.lock(digest(refresh_token))
            if found is None:
                raise _invalid()
            session, token = found
            use = judge(session, token, now, grace_s=self._policy.grace_s)
            if use is Use.VAIN:
                raise _invalid()
            if use is Use.REUSE:
                await self._end(tx, session, EndReason.TOKEN_REUSED, now)
                await tx.commit()
                raise Unauthenticated(
                    "this token was used before: the session is over", code="refresh_token_reused"
                )
            user = await tx.users.by_id(session.user_id)
            assert user is not None  # noqa: S101 - a foreign key
            if use is Use.ROTATION:
                token = await self._rotate(tx, session, token, refresh_token, now)
                await tx.commit()
            assert token.seed is not None  # noqa: S101 - a rotated token whose successor is unused has one
            return Grant(user, session.id, successor(refresh_token, token.seed))

    async def log_out(self, principal: Principal) -> None:
        """End the caller's session. Safe to repeat. Errors: Forbidden `session_needed` for an API key."""
        if principal.session_id is None:
            raise Forbidden("this needs a session", code="session_needed")
        now = self._clock.now()
        session = Session(principal.session_id, principal.user_id, now, now)
        async with self._begin() as tx:
            await self._end(tx, session, EndReason.LOGGED_OUT, now)
            await tx.commit()

    async def change_password(self, principal: Principal, current: str, new: str, *, address: str) -> None:
        """Replace the caller's password, which it proves again, and end all its sessions. API keys stay.

        Errors: as `Proof.of_user`, also for a retry; as `IdentityService.replace_password`.
        """
        known = await self._users.get(principal, principal.user_id)
        user = await self._proof.of_user(known.email, current, address=address)
        await self._users.replace_password(user, new, by=principal.user_id)

    async def are_over(self, ids: Sequence[SessionId]) -> list[bool]:
        """Say of each session, in order, whether it ended before its time."""
        async with self._each() as tx:
            ended: Collection[SessionId] = await tx.sessions.ended(ids)
        return [session_id in ended for session_id in ids]

    async def _rotate(
        self, tx: IdentityTransaction, session: Session, token: RefreshToken, plain: str, now: datetime
    ) -> RefreshToken:
        rotated = replace(token, rotated_at=now, seed=new_seed())
        assert rotated.seed is not None  # noqa: S101 - just given
        follower = successor(plain, rotated.seed)
        await tx.sessions.rotate(rotated, self._new_token(session, follower, token.generation + 1, now))
        return rotated

    def _new_token(self, session: Session, plain: str, generation: int, now: datetime) -> RefreshToken:
        expires_at = min(session.expires_at, now + timedelta(seconds=self._policy.refresh_ttl_s))
        return RefreshToken(digest(plain), session.id, generation, expires_at)

    async def _end(self, tx: IdentityTransaction, session: Session, reason: EndReason, now: datetime) -> None:
        if await tx.sessions.end(session.id, reason, now):
            over = event("session.ended", session.id, now, audience=[session.user_id], reason=str(reason))
            await tx.events.append([over])


def _invalid() -> Unauthenticated:
    return Unauthenticated("the refresh token is not valid", code="refresh_token_invalid")
