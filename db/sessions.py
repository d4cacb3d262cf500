"""Sessions, their refresh tokens, and what ended before its time, in PostgreSQL."""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from db.connection import Connection
from db.sql import Sql
from domain.identity.model import EndReason, RefreshToken, Session
from domain.ids import SessionId, UserId

_START = Sql(
    """
    INSERT INTO sessions (id, user_id, created_at, expires_at)
    VALUES (:id, :user_id, :created_at, :expires_at)
    """
)
_ADD_TOKEN = Sql(
    """
    INSERT INTO refresh_tokens (hash, session_id, generation, expires_at)
    VALUES (:hash, :session_id, :generation, :expires_at)
    """
)
_LOCK = Sql(
    """
    SELECT id, user_id, created_at, expires_at, ended_at FROM sessions
    WHERE id = (SELECT session_id FROM refresh_tokens WHERE hash = :hash)
    FOR UPDATE
    """
)
_TOKEN = Sql(
    """
    SELECT hash, session_id, generation, expires_at, rotated_at, seed FROM refresh_tokens WHERE hash = :hash
    """
)
_ROTATE = Sql("UPDATE refresh_tokens SET rotated_at = :rotated_at, seed = :seed WHERE hash = :hash")
_FORGET_SEED = Sql(
    """
    UPDATE refresh_tokens SET seed = NULL
    WHERE session_id = :session_id AND generation = :generation - 1
    """
)
_END = Sql(
    """
    UPDATE sessions SET ended_at = :at, end_reason = :reason
    WHERE id = :id AND ended_at IS NULL
    RETURNING id
    """
)
_END_ALL = Sql(
    """
    UPDATE sessions SET ended_at = :at, end_reason = :reason
    WHERE id IN (
        SELECT id FROM sessions WHERE user_id = :user_id AND ended_at IS NULL
        ORDER BY id DESC OFFSET :except_newest
        FOR UPDATE
    )
    """
)
_ENDED = Sql("SELECT id FROM sessions WHERE id = ANY(:ids) AND ended_at IS NOT NULL ORDER BY id")
# The refresh tokens of a deleted session go with it.
_PRUNE_SESSIONS = Sql(
    """
    DELETE FROM sessions WHERE id IN (
        SELECT id FROM sessions WHERE expires_at < :before
        ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    """
)
_PRUNE_TOKENS = Sql(
    """
    DELETE FROM refresh_tokens WHERE hash IN (
        SELECT hash FROM refresh_tokens WHERE expires_at < :before
        ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    """
)
_RECENT = Sql(
    """
    SELECT id FROM revocations
    WHERE at > clock_timestamp() - make_interval(secs => :within_s)
        AND (CAST(:after AS uuid) IS NULL OR id > :after)
    ORDER BY id LIMIT :limit
    """
)
_PRUNE_REVOCATIONS = Sql(
    """
    DELETE FROM revocations WHERE id IN (
        SELECT id FROM revocations WHERE at < clock_timestamp() - make_interval(secs => :older_than_s)
        ORDER BY at LIMIT :limit
    )
    """
)


class Sessions:
    """`domain.identity.ports.SessionRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def start(self, session: Session, token: RefreshToken) -> None:
        """Insert a session with its first token."""
        await self._connection.execute(_START, asdict(session))
        await self._connection.execute(_ADD_TOKEN, asdict(token))

    async def lock(self, token_hash: bytes) -> tuple[Session, RefreshToken] | None:
        """Return the token with that hash and its session, which nobody else changes before this ends.

        The token is read after the lock is there: the statement that waited for it still sees the old one.
        """
        session = (await self._connection.execute(_LOCK, {"hash": token_hash})).first()
        if session is None:
            return None
        token = (await self._connection.execute(_TOKEN, {"hash": token_hash})).one()
        return Session(**session._mapping), RefreshToken(**token._mapping)

    async def rotate(self, old: RefreshToken, new: RefreshToken) -> None:
        """Keep when `old` was rotated and its seed, insert `new`, and forget the seed that had made `old`."""
        await self._connection.execute(_ROTATE, asdict(old))
        await self._connection.execute(_FORGET_SEED, asdict(old))
        await self._connection.execute(_ADD_TOKEN, asdict(new))

    async def end(self, session_id: SessionId, reason: EndReason, at: datetime) -> bool:
        """End a session; return False when it is over already."""
        values = {"id": session_id, "reason": reason, "at": at}
        return (await self._connection.execute(_END, values)).first() is not None

    async def end_all(self, user_id: UserId, reason: EndReason, at: datetime, *, except_newest: int = 0) -> None:
        """End a user's sessions, all or all but the newest."""
        values = {"user_id": user_id, "reason": reason, "at": at, "except_newest": except_newest}
        await self._connection.execute(_END_ALL, values)

    async def ended(self, ids: Collection[SessionId]) -> Collection[SessionId]:
        """Return those of the sessions that are over before their time."""
        return frozenset((await self._connection.execute(_ENDED, {"ids": list(ids)})).scalars())

    async def prune(self, before: datetime, *, limit: int) -> int:
        """Delete sessions and refresh tokens that expired before that time; return how many, at most `limit`."""
        values = {"before": before, "limit": limit}
        sessions = await self._connection.execute(_PRUNE_SESSIONS, values)
        tokens = await self._connection.execute(_PRUNE_TOKENS, {**values, "limit": limit - sessions.rowcount})
        return sessions.rowcount + tokens.rowcount


class Revocations:
    """`domain.identity.ports.RevocationRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def recent(self, within_s: float, *, after: UUID | None, limit: int) -> Sequence[UUID]:
        """Return the ids that were noted within the last seconds, sorted, at most `limit` that follow `after`."""
        values = {"within_s": within_s, "after": after, "limit": limit}
        return (await self._connection.execute(_RECENT, values)).scalars().all()

    async def prune(self, older_than_s: float, *, limit: int) -> int:
        """Delete the ids of longer ago; return how many, at most `limit`."""
        values = {"older_than_s": older_than_s, "limit": limit}
        return (await self._connection.execute(_PRUNE_REVOCATIONS, values)).rowcount
