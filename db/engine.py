"""Connections to PostgreSQL: SQLAlchemy's pool over psycopg 3, asynchronous."""

import time
from contextlib import suppress
from typing import Any

import psycopg
from sqlalchemy import AsyncAdaptedQueuePool, Pool, PoolProxiedConnection, exc, make_url
from sqlalchemy.dialects.postgresql.psycopg import PGDialectAsync_psycopg
from sqlalchemy.util import await_only, greenlet_spawn

from db.clock import DatabaseClock
from db.connection import Connection

_MAX_CONNECT_S = 10
_GRACE_S = 2.0
"""How much longer than its timeout a statement's answer may take: the server says itself that it gave up."""
_RECYCLE_S = 600
"""A connection is made anew when it is older, and the clock put right with it."""


class Engine:
    """Lends connections of one pool.

    PERF: SQLAlchemy's own `AsyncEngine` imports the ORM, and first asks the server what only its own cursors want
    to know: a tenth of the API's memory for what nobody uses (ADR 0014).
    """

    def __init__(self, pool: Pool, *, patience_s: float) -> None:
        """Lend those of that pool, to who hangs up on a server that is silent for so long."""
        self._pool = pool
        self._suspected_at = 0.0
        self.patience_s = patience_s

    async def raw_connection(self) -> PoolProxiedConnection:
        """Return a connection, which its `close` gives back. Errors: SQLAlchemy's for the pool, psycopg's own."""
        while True:
            lent = await greenlet_spawn(self._pool.connect)
            if lent.info.setdefault("first_lent_at", time.monotonic()) >= self._suspected_at:
                return lent
            await greenlet_spawn(lent.invalidate)
            await greenlet_spawn(lent.close)

    def suspect(self) -> None:
        """Lend none again of the connections that there are: they may lead where nobody answers any more."""
        self._suspected_at = time.monotonic()

    async def warm(self) -> None:
        """Make a first connection, which puts the clock right; a later one does, if the database is away."""
        with suppress(psycopg.Error, exc.SQLAlchemyError):
            lent = await self.raw_connection()
            await greenlet_spawn(lent.close)

    async def dispose(self) -> None:
        """Close the connections that nobody has borrowed; a later one comes from a pool of its own."""
        await greenlet_spawn(self._pool.dispose)
        self._pool = self._pool.recreate()


def sqlalchemy_url(url: str) -> str:
    """Return a libpq URL (`postgresql://…`) in the form that names psycopg 3 to SQLAlchemy."""
    scheme, separator, rest = url.partition("://")
    if scheme not in {"postgresql", "postgres", "postgresql+psycopg"} or not separator:
        raise ValueError("a PostgreSQL URL starts with postgresql://")
    return f"postgresql+psycopg://{rest}"


def make_engine(
    url: str, *, pool_size: int, statement_timeout_s: float, clock: DatabaseClock | None = None
) -> Engine:
    """Return an engine whose every wait is bounded: for a connection, for a statement, for a lock.

    Each new connection puts the clock right, if one is given.

    Reads and writes alike run READ COMMITTED; what must not race is locked by name. Statements are short and many
    at once, so that help for one of them, which takes longer to start than most of them run, is a core less for
    another.
    """
    timeout_ms, patience_s = int(statement_timeout_s * 1000), statement_timeout_s + _GRACE_S
    dialect = PGDialectAsync_psycopg(dbapi=PGDialectAsync_psycopg.import_dbapi())  # type: ignore[no-untyped-call]  # it has no types
    arguments, options = dialect.create_connect_args(make_url(sqlalchemy_url(url)))  # type: ignore[no-untyped-call]  # the same
    options |= {
        "connect_timeout": max(2, min(int(statement_timeout_s), _MAX_CONNECT_S)),
        # One that is idle and leads nowhere any more is noticed before somebody borrows it.
        "keepalives_idle": 30,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "options": f"-c statement_timeout={timeout_ms} -c lock_timeout={timeout_ms}"
        f" -c idle_in_transaction_session_timeout={3 * timeout_ms} -c timezone=UTC"
        " -c max_parallel_workers_per_gather=0",
        "prepare_threshold": 2,
    }

    def connect() -> Any:
        connection = dialect.connect(*arguments, **options)
        if clock is not None:
            try:
                await_only(clock.hear(Connection(connection.driver_connection, patience_s)))
            except BaseException:
                connection.close()
                raise
        return connection

    return Engine(
        AsyncAdaptedQueuePool(
            connect,
            pool_size=pool_size,
            max_overflow=0,
            timeout=statement_timeout_s,
            recycle=_RECYCLE_S if clock is not None else -1,
            dialect=dialect,
        ),
        patience_s=patience_s,
    )
