"""The schema on a real server is the one that the code describes."""

import threading

import psycopg
import pytest

from ops import migrate
from ops.migrate import MigrationError
from ops.stack import Stack


def test_schema_equals_the_tables_in_the_code(shared: Stack) -> None:
    migrate.check(shared.info.migration_database_url)


def test_migrating_again_changes_nothing(shared: Stack) -> None:
    migrate.upgrade(shared.info.migration_database_url)

    migrate.check(shared.info.migration_database_url)


def test_drift_is_named(shared: Stack) -> None:
    url = shared.info.migration_database_url
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER TABLE users ADD COLUMN forgotten int")
        with pytest.raises(MigrationError, match="forgotten"):
            migrate.check(url)
        connection.execute("ALTER TABLE users DROP COLUMN forgotten")


def test_second_migration_waits_for_the_first(shared: Stack) -> None:
    url = shared.info.migration_database_url
    second = threading.Thread(target=migrate.upgrade, args=(url,))
    with psycopg.connect(url, autocommit=True) as first:
        first.execute("SELECT pg_advisory_lock(%s)", (migrate.LOCK_KEY,))
        second.start()
        second.join(timeout=1)
        assert second.is_alive()
    second.join(timeout=30)
    assert not second.is_alive()


def test_unreachable_database_is_a_message() -> None:
    with pytest.raises(MigrationError, match="connection failed"):
        migrate.upgrade("postgresql://nobody@127.0.0.1:1/nothing")
