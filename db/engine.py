"""Engines: SQLAlchemy Core over psycopg 3, asynchronous."""

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine


def sqlalchemy_url(url: str) -> str:
    """Return a libpq URL (`postgresql://…`) in the form that names psycopg 3 to SQLAlchemy."""
    scheme, separator, rest = url.partition("://")
    if scheme not in {"postgresql", "postgres", "postgresql+psycopg"} or not separator:
        raise ValueError("a PostgreSQL URL starts with postgresql://")
    return f"postgresql+psycopg://{rest}"


def make_engine(url: str, *, pool_size: int, statement_timeout_s: float) -> AsyncEngine:
    """Return an engine whose every wait is bounded: for a connection, for a statement, for a lock.

    Reads and writes alike run READ COMMITTED; what must not race is locked by name.
    """
    timeout_ms = int(statement_timeout_s * 1000)
    return create_async_engine(
        sqlalchemy_url(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=statement_timeout_s,
        pool_pre_ping=False,
        connect_args={
            "connect_timeout": max(2, int(statement_timeout_s)),
            "options": f"-c statement_timeout={timeout_ms} -c lock_timeout={timeout_ms}"
            f" -c idle_in_transaction_session_timeout={3 * timeout_ms} -c timezone=UTC",
            "prepare_threshold": 2,
        },
    )
