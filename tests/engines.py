"""Engines on which a test says its own SQL, as SQLAlchemy says it, over the pool that the product has."""

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from db.engine import make_engine, sqlalchemy_url


class SqlEngine(AsyncEngine):
    """An engine with `connect` and `begin`, which lends connections to a Database as well."""

    patience_s = 600.0

    def suspect(self) -> None:
        raise AssertionError("the server of the tests is never silent")


def make_sql_engine(url: str, *, pool_size: int, statement_timeout_s: float) -> SqlEngine:
    """Return an engine over the pool that the product would have."""
    lender = make_engine(url, pool_size=pool_size, statement_timeout_s=statement_timeout_s)
    return SqlEngine(create_async_engine(sqlalchemy_url(url), pool=lender._pool).sync_engine)
