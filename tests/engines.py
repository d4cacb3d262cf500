"""Engines on which a test says its own SQL, as SQLAlchemy says it, beside the pool that the product has."""

from functools import partial
from typing import cast

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from db.connection import Connection, Driver
from db.pool import Pool, connect, make_pool


class SqlEngine(AsyncEngine):
    """An engine with `connect` and `begin`, which lends connections to a Database as well."""

    def __init__(self, engine: AsyncEngine, lender: Pool) -> None:
        super().__init__(engine.sync_engine)
        self._lender = lender
        self.patience_s = lender.patience_s

    async def lend(self) -> Driver:
        return await self._lender.lend()

    async def take_back(self, driver: Driver) -> None:
        await self._lender.take_back(driver)

    def suspect(self) -> None:
        raise AssertionError("the server of the tests is never silent")

    async def dispose(self, close: bool = True) -> None:  # noqa: FBT001, FBT002 - SQLAlchemy's signature
        await self._lender.close()
        await super().dispose(close)


def make_sql_engine(url: str, *, pool_size: int, statement_timeout_s: float) -> SqlEngine:
    """Return an engine whose connections are made as the product makes its own."""
    make = partial(connect, url, statement_timeout_s=statement_timeout_s)
    engine = create_async_engine("postgresql+psycopg://", async_creator=make, pool_size=pool_size, max_overflow=0)
    return SqlEngine(engine, make_pool(url, pool_size=pool_size, statement_timeout_s=statement_timeout_s))


async def as_product_sees(connection: AsyncConnection) -> Connection:
    """Return a test's connection as the repositories see it, in the transaction in which it is."""
    return Connection(cast("Driver", (await connection.get_raw_connection()).driver_connection))
