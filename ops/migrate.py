"""Bring the schema to its newest form, or check that the tables in the code agree with it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, pool, text

MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"
LOCK_KEY = 0x6D666D69  # "mfmi": one migration at a time in this database
LOCK_TIMEOUT_S = 120.0


class MigrationError(Exception):
    """The schema cannot be brought to its newest form, or does not agree with the code."""


def upgrade(url: str) -> None:
    """Upgrade the database at `url` (the owner's) to the newest revision; safe to repeat, and twice at once.

    Raises:
        MigrationError: another migration holds the lock for too long, or Alembic refuses.

    """
    with _configured(url) as config:
        command.upgrade(config, "head")


def check(url: str) -> None:
    """Check that the schema at `url` is at the newest revision and equals the tables in `db/tables.py`.

    Raises:
        MigrationError: it does not; the message names the differences.

    """
    with _configured(url) as config:
        command.check(config)


@contextmanager
def _configured(url: str) -> Iterator[Config]:
    """Yield Alembic's configuration around a locked connection, which `env.py` takes from its attributes."""
    engine = create_engine(driver_url(url), poolclass=pool.NullPool)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        with engine.connect() as connection:
            _lock(connection)
            config.attributes["connection"] = connection
            yield config
    except CommandError as error:
        raise MigrationError(str(error)) from error
    finally:
        engine.dispose()


def driver_url(url: str) -> str:
    """Return a libpq address in SQLAlchemy's form."""
    scheme, separator, rest = url.partition("://")
    return f"postgresql+psycopg{separator}{rest}" if scheme in ("postgresql", "postgres") else url


def _lock(connection: Connection) -> None:
    """Take the session's advisory lock by trying.

    A waiting `pg_advisory_lock` holds a snapshot, for which a `CREATE INDEX CONCURRENTLY` of the lock's
    holder would wait: a deadlock.
    """
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK_KEY}).scalar_one():
        connection.rollback()
        if time.monotonic() > deadline:
            raise MigrationError("Another migration holds the lock.")
        time.sleep(0.2)
    connection.commit()
