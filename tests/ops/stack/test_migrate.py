"""The schema on a real server is the one that the code describes."""

import re
import threading

import psycopg
import pytest

from ops import migrate
from ops.migrate import MigrationError
from ops.stack import Stack, postgres


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


def test_address_that_cannot_be_read_is_not_repeated() -> None:
    with pytest.raises(MigrationError, match="cannot be read") as refused:
        migrate.upgrade("postgressql://owner:s3cret@h/d")

    assert "s3cret" not in str(refused.value)


def test_unreachable_database_is_a_message() -> None:
    with pytest.raises(MigrationError, match="connection failed"):
        migrate.upgrade("postgresql://nobody@127.0.0.1:1/nothing")


# What is made concurrently is in no transaction: where it breaks off, an index stays that is not valid.
CUT_OFF = """
    CREATE SCHEMA cuts;
    CREATE TABLE cuts.made (statement text PRIMARY KEY);
    CREATE FUNCTION cuts.cut_off() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        IF current_query() ILIKE '%concurrently%' AND NOT EXISTS (
            SELECT FROM cuts.made WHERE statement = md5(current_query()))
        THEN
            RAISE EXCEPTION 'cut off at %', md5(current_query());
        END IF;
    END $$;
    CREATE EVENT TRIGGER cut_off ON ddl_command_end WHEN TAG IN ('CREATE INDEX', 'DROP INDEX')
        EXECUTE FUNCTION cuts.cut_off();
"""


def test_next_migration_finishes_what_was_cut_off_while_it_made_an_index(shared: Stack) -> None:
    with psycopg.connect(postgres.url(shared.layout, postgres.SUPERUSER), autocommit=True) as server:
        server.execute(f"CREATE DATABASE cut_off OWNER {postgres.OWNER}".encode())
    url = postgres.url(shared.layout, postgres.OWNER, "cut_off")
    cuts = 0

    with psycopg.connect(postgres.url(shared.layout, postgres.SUPERUSER, "cut_off"), autocommit=True) as server:
        server.execute(CUT_OFF)
        while cut := _upgrade_until_cut(url):
            server.execute("INSERT INTO cuts.made VALUES (%s)", (cut,))
            cuts += 1

    assert cuts > 0
    migrate.check(url)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT indexrelid FROM pg_index WHERE NOT indisvalid").fetchall() == []


def _upgrade_until_cut(url: str) -> str:
    """Return at which statement the upgrade was cut off; nothing where it came to its end."""
    try:
        migrate.upgrade(url)
    except MigrationError as error:
        if cut := re.search("cut off at ([0-9a-f]+)", str(error)):
            return cut[1]
        raise
    return ""
