"""Connections to PostgreSQL that are lent and given back: psycopg 3, asynchronous."""

import asyncio
import math
import select
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress

import psycopg
from psycopg.pq import TransactionStatus

from db.clock import DatabaseClock
from db.connection import Connection, Driver

_MAX_CONNECT_S = 10
_ATTEMPTS = 3
"""So many addresses that do not answer may be tried one after the other, and their names looked up, meanwhile."""
_GRACE_S = 2.0
"""How much longer than its timeout a statement's answer may take: the server says itself that it gave up."""
_LIFETIME_S = 600
"""A connection is made anew when it is older, and the clock put right with it."""


class Pool:
    """Lends each connection to one borrower at a time, and makes one when all that there are are lent.

    A server that refuses is heard of at once, and asked again by the next who borrows: nothing goes on in the
    background, and nothing has to end with the process.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Driver]],
        *,
        size: int,
        timeout_s: float,
        patience_s: float,
        lifetime_s: float = math.inf,
    ) -> None:
        """Make connections by `connect`, at most `size` at a time, each good for `lifetime_s`.

        Who borrows one waits at most `timeout_s` for it, and `patience_s` for an answer of the server.
        """
        self.patience_s = patience_s
        self._connect = connect
        self._timeout_s = timeout_s
        self._lifetime_s = lifetime_s
        self._places = asyncio.Semaphore(size)
        # PERF: the last one given back is lent first: its statements are prepared, and its server is awake.
        self._idle: list[Driver] = []
        self._made_at: dict[Driver, float] = {}
        self._suspected_at = -math.inf

    async def lend(self) -> Driver:
        """Lend a connection, until `take_back`. Errors: psycopg's own, ConnectionTimeout when all stay lent."""
        await self._take_place()
        try:
            while self._idle:
                driver = self._idle.pop()
                if self._is_trusted(driver) and not _has_ended(driver):
                    return driver
                await self._close(driver)
            driver = await self._connect()
        except BaseException:
            self._places.release()
            raise
        self._made_at[driver] = time.monotonic()
        return driver

    async def take_back(self, driver: Driver) -> None:
        """Keep a connection for the next who borrows one, unless it may be in the middle of something."""
        is_idle = not driver.closed and driver.info.transaction_status is TransactionStatus.IDLE
        if is_idle and self._is_trusted(driver):
            self._idle.append(driver)
        else:
            await self._close(driver)
        self._places.release()

    def suspect(self) -> None:
        """Lend none again of the connections that there are: they may lead where nobody answers any more."""
        self._suspected_at = time.monotonic()

    async def warm(self) -> None:
        """Make a first connection, which puts the clock right; a later one does, if the database is away."""
        with suppress(psycopg.Error):
            await self.take_back(await self.lend())

    async def close(self) -> None:
        """Close the connections that nobody has borrowed, and the others as they come back."""
        self.suspect()
        while self._idle:
            await self._close(self._idle.pop())

    async def _take_place(self) -> None:
        try:
            # PERF: a timer costs more than taking a place that is free.
            async with asyncio.timeout(self._timeout_s if self._places.locked() else None):
                await self._places.acquire()
        except TimeoutError:
            raise psycopg.errors.ConnectionTimeout("no connection came back in time") from None

    def _is_trusted(self, driver: Driver) -> bool:
        made_at = self._made_at[driver]
        return made_at > self._suspected_at and time.monotonic() - made_at < self._lifetime_s

    async def _close(self, driver: Driver) -> None:
        del self._made_at[driver]
        await driver.close()


def _has_ended(driver: Driver) -> bool:
    """Tell whether the server ended a connection meanwhile: before that an idle one has nothing to read.

    So after a restart of PostgreSQL no request meets a dead one.
    """
    poll = select.poll()
    poll.register(driver.fileno(), select.POLLIN)
    return bool(poll.poll(0))


async def connect(url: str, *, statement_timeout_s: float) -> Driver:
    """Connect to PostgreSQL, with bounds for all that is asked there. Errors: psycopg's own.

    Reads and writes alike run READ COMMITTED; what must not race is locked by name. Statements are short and many
    at once, so that help for one of them, which takes longer to start than most of them run, is a core less for
    another.
    """
    timeout_ms = int(statement_timeout_s * 1000)
    connect_s = max(2, min(int(statement_timeout_s), _MAX_CONNECT_S))
    try:
        # NOTE: psycopg's own timeout is one address's, and begins once the name is known: until then it waits as
        # long as the system's resolver does for its servers.
        async with asyncio.timeout(_ATTEMPTS * connect_s):
            return await psycopg.AsyncConnection.connect(
                url,
                connect_timeout=connect_s,
                # One that is idle and leads nowhere any more is noticed before somebody borrows it.
                keepalives_idle=30,
                keepalives_interval=5,
                keepalives_count=3,
                options=f"-c statement_timeout={timeout_ms} -c lock_timeout={timeout_ms}"
                f" -c idle_in_transaction_session_timeout={3 * timeout_ms} -c timezone=UTC"
                " -c max_parallel_workers_per_gather=0",
                prepare_threshold=2,
            )
    except TimeoutError:
        raise psycopg.errors.ConnectionTimeout("no connection was made in time") from None
    except psycopg.Error as error:
        # NOTE: psycopg's error and the frame that raised it hold each other, and so the connection that came too
        # late. A server that was frozen would keep a session for it until a search for cycles.
        traceback.clear_frames(error.__traceback__)
        raise


def make_pool(url: str, *, pool_size: int, statement_timeout_s: float, clock: DatabaseClock | None = None) -> Pool:
    """Return a pool whose every wait is bounded: for a connection, for a statement, for a lock.

    Each new connection puts the clock right, if one is given.
    """
    patience_s = statement_timeout_s + _GRACE_S

    async def make() -> Driver:
        driver = await connect(url, statement_timeout_s=statement_timeout_s)
        if clock is not None:
            try:
                await clock.hear(Connection(driver, patience_s))
            except BaseException:
                await driver.close()
                raise
        return driver

    return Pool(
        make,
        size=pool_size,
        timeout_s=statement_timeout_s,
        patience_s=patience_s,
        lifetime_s=_LIFETIME_S if clock is not None else math.inf,
    )
