"""Bring the schema to its newest form, or check that the tables in the code agree with it."""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.exc import DBAPIError

from ops.errors import NO, OperatorError

CONFIG = Path(__file__).resolve().parents[1] / "migrations" / "alembic.ini"
LOCK_KEY = 0x6D666D69  # "mfmi": one command at a time in this database
LOCK_TIMEOUT_S = 120.0


class MigrationError(OperatorError):
    """The schema cannot be brought to its newest form, or nobody can see whether it agrees with the code."""


class SchemaDiffers(MigrationError):
    """The schema does not agree with the code: it is older, or newer, or another one."""

    exit_code = NO


def upgrade(url: str) -> None:
    """Upgrade the database at `url` (the owner's) to the newest revision; safe to repeat, and twice at once.

    Raises:
        SchemaDiffers: the database has a revision that the code does not know.
        MigrationError: the database refuses or cannot be reached, or another migration takes too long.

    """
    with _locked(url) as config:
        command.upgrade(config, "head")


def check(url: str) -> None:
    """Check that the schema at `url` is at the newest revision and equals the tables in `db/tables`.

    Raises:
        SchemaDiffers: it does not; the message names the differences.
        MigrationError: the database cannot be reached, or a migration takes too long.

    """
    with _locked(url) as config:
        command.check(config)


@contextmanager
def _locked(url: str) -> Iterator[Config]:
    """Yield Alembic's configuration while a session of our own holds the advisory lock."""
    config = Config(str(CONFIG), stdout=io.StringIO())
    config.attributes["url"] = url
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # Its message repeats the address, with the password.
        raise MigrationError("migration: the address of the database cannot be read") from None
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            _lock(connection)
            yield config
    except CommandError as error:
        raise SchemaDiffers(f"migration: {error}") from error
    except psycopg.Error as error:
        raise MigrationError(f"migration: {error}") from error
    except DBAPIError as error:
        raise MigrationError(f"migration: {error.orig}") from error


def _lock(connection: psycopg.Connection) -> None:
    """Take the session's advisory lock by trying.

    A waiting `pg_advisory_lock` holds a snapshot, for which a `CREATE INDEX CONCURRENTLY` of the lock's
    holder would wait: a deadlock.
    """
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while not _try_lock(connection):
        if time.monotonic() > deadline:
            raise MigrationError("Another migration holds the lock.")
        time.sleep(0.2)


def _try_lock(connection: psycopg.Connection) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK_KEY,)).fetchone()
    return row is not None and bool(row[0])
