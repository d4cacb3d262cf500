"""A connection as the repositories see it, over psycopg's own (ADR 0014)."""

import asyncio
import os
import socket
from collections import namedtuple
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from typing import Any, Protocol

import psycopg
from psycopg import generators
from psycopg.pq import TransactionStatus
from psycopg.rows import RowMaker, no_result

from db.sql import Sql

Driver = psycopg.AsyncConnection[Any]

Row = Any
"""A tuple whose columns are attributes; `_mapping` is the row by column."""

_PATIENCE_S = 600.0
_OPEN = {TransactionStatus.INTRANS, TransactionStatus.INERROR}


class Lender(Protocol):
    """Where connections are borrowed: `db.pool.Pool`."""

    patience_s: float
    """How long who borrows one waits for an answer."""

    async def lend(self) -> Driver:
        """Lend one, until `take_back`."""

    async def take_back(self, driver: Driver) -> None:
        """Take one back, in whatever state it is."""

    def suspect(self) -> None:
        """Lend none again of those that there are."""


class Rows:
    """What a statement returned, read whole."""

    def __init__(self, rows: Sequence[Row], rowcount: int) -> None:
        """Keep the rows, and how many were written or read."""
        self._rows = rows
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[Row]:
        """Yield each row."""
        return iter(self._rows)

    def all(self) -> Sequence[Row]:
        """Return all rows."""
        return self._rows

    def first(self) -> Row | None:
        """Return the first row, if there is one."""
        return self._rows[0] if self._rows else None

    def one(self) -> Row:
        """Return the only row. Errors: ValueError if there is none, or another."""
        (row,) = self._rows
        return row

    def scalars(self) -> "Rows":
        """Return the first column alone."""
        return Rows([row[0] for row in self._rows], self.rowcount)

    def scalar_one(self) -> Any:
        """Return the only value. Errors: as of `one`."""
        return self.one()[0]

    def scalar(self) -> Any:
        """Return the first value, None without a row."""
        return self._rows[0][0] if self._rows else None


class Connection:
    """What the repositories see."""

    def __init__(self, driver: Driver, patience_s: float = _PATIENCE_S) -> None:
        """Work on that connection, in whatever transaction it is; hang up when the server is silent so long."""
        self._driver = driver
        self._patience_s = patience_s
        self.is_silent = False
        """Whether the server did not answer."""

    async def execute(
        self, statement: Sql, values: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> Rows:
        """Run a statement with its values, or for each of several, and return its rows. Errors: psycopg's own."""
        timer = self._wait()
        try:
            async with psycopg.AsyncRawCursor(self._driver, row_factory=_named_row) as cursor:
                if isinstance(values, Sequence):
                    await cursor.executemany(statement.query, [statement.bind(each) for each in values])
                else:
                    # PERF: a row of binary values takes a sixth less to read than one of texts.
                    # NOTE: types that psycopg cannot read so (xid8, pg_snapshot, tsvector) come as bytes: cast
                    # them to text.
                    prepare = False if statement.planned_anew else None
                    bound = statement.bind(values or {}) or None
                    await cursor.execute(statement.query, bound, prepare=prepare, binary=True)
                result = cursor.pgresult
                return Rows(await cursor.fetchall() if result and result.nfields else (), cursor.rowcount)
        finally:
            timer.cancel()

    async def commit(self) -> None:
        """Make the changes of the transaction durable. Errors: psycopg's own."""
        timer = self._wait()
        try:
            await self._driver.commit()
        finally:
            timer.cancel()

    async def roll_back(self) -> None:
        """End a transaction that was not committed; where that fails, the pool tries it again.

        PERF: psycopg's own `rollback` has the server forget all prepared statements, since the tables that they
        read may be what is rolled back. This role makes none, and a search whose plan is made anew costs twice as
        much.
        """
        timer = self._wait()
        try:
            with suppress(psycopg.Error):
                self._driver.pgconn.send_query(b"ROLLBACK")
                await self._driver.wait(generators.execute(self._driver.pgconn))
        finally:
            timer.cancel()

    def _wait(self) -> asyncio.TimerHandle:
        """Begin to wait for the server; the timer is to be cancelled when it has answered.

        The server's own timeouts are of no use when it is silent: lost with its node, cut off by a firewall, or
        waiting for its disk. The network's would notice it after minutes or hours, or never.
        """
        return asyncio.get_running_loop().call_later(self._patience_s, self._hang_up)

    def _hang_up(self) -> None:
        """End the connection under whoever waits on it, which raises OperationalError there."""
        self.is_silent = True
        with (
            suppress(OSError, psycopg.Error),
            socket.socket(fileno=os.dup(self._driver.fileno())) as wire,
        ):
            wire.shutdown(socket.SHUT_RDWR)


@asynccontextmanager
async def borrow(pool: Lender, *, autocommit: bool) -> AsyncIterator[Connection]:
    """Lend a connection of the pool; a transaction that is open at the end is rolled back.

    Errors: psycopg's own.
    """
    driver = await pool.lend()
    connection = Connection(driver, pool.patience_s)
    try:
        if driver.autocommit is not autocommit:
            await driver.set_autocommit(autocommit)
        yield connection
        if driver.info.transaction_status is TransactionStatus.INTRANS:
            await connection.roll_back()
    except BaseException:
        if driver.info.transaction_status in _OPEN:
            await connection.roll_back()
        # Whatever it was: a fresh connection costs less than one whose state nobody knows.
        if autocommit:
            await driver.close()
        raise
    finally:
        await pool.take_back(driver)
        if connection.is_silent:
            # The idle ones lead to the same place: each of them would keep somebody waiting as long.
            pool.suspect()


def _named_row(cursor: psycopg.AsyncCursor[Any]) -> RowMaker[Row]:
    result = cursor.pgresult
    if result is None or not result.nfields:
        return no_result
    return _row_maker(tuple(result.fname(index) for index in range(result.nfields)))


@lru_cache(maxsize=4_096)
def _row_maker(columns: tuple[bytes | None, ...]) -> Callable[[Sequence[Any]], Row]:
    names = [(column or b"").decode() for column in columns]
    plain: Any = namedtuple("Row", names, rename=True)  # type: ignore[misc]  # noqa: PYI024 - known at run time alone
    row_class: Any = type("Row", (plain,), {"__slots__": (), "_mapping": property(_by_column)})
    make: Callable[[Sequence[Any]], Row] = row_class._make
    return make


def _by_column(row: Row) -> Mapping[str, Any]:
    return dict(zip(row._fields, row, strict=True))
