"""Engines on which a test says its own SQL, as SQLAlchemy says it, over the pool that the product has."""

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from db.engine import make_engine, sqlalchemy_url


def make_sql_engine(url: str, *, pool_size: int, statement_timeout_s: float) -> AsyncEngine:
    """Return an engine with `connect` and `begin`, which lends connections to a Database as well."""
    lender = make_engine(url, pool_size=pool_size, statement_timeout_s=statement_timeout_s)
    return create_async_engine(sqlalchemy_url(url), pool=lender._pool)
