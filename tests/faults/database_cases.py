"""What PostgreSQL refuses under load: connections, conflicting transactions, room on its disk."""

import asyncio
import os
import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from ops.stack import postgres
from tests.eventually import eventually
from tests.faults.harness import Harness
from tests.faults.load import Load
from tests.faults.steps import until

# As a server that has too many conflicts would: a fifth of all statements that write payments, whoever sends them.
_CONFLICTS = """
    CREATE OR REPLACE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF random() < 0.1 THEN RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '40001'; END IF;
        IF random() < 0.1 THEN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER conflict BEFORE INSERT OR UPDATE ON payments FOR EACH STATEMENT EXECUTE FUNCTION conflict();
"""
_NO_CONFLICTS = "DROP TRIGGER IF EXISTS conflict ON payments; DROP FUNCTION IF EXISTS conflict();"


async def out_of_connections(harness: Harness, load: Load) -> None:
    """Let the server take no connection, then let every pool's connections wait: both are told as 503."""
    application, before = psycopg.sql.Identifier(postgres.APPLICATION), load.api.refused
    with psycopg.connect(postgres.url(harness.stack.layout, postgres.SUPERUSER), autocommit=True) as superuser:
        limit = psycopg.sql.SQL("ALTER ROLE {} CONNECTION LIMIT {}")
        superuser.execute(limit.format(application, psycopg.sql.Literal(0)))
        superuser.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [postgres.APPLICATION]
        )
        await eventually(lambda: load.api.refused > before)
        superuser.execute(limit.format(application, psycopg.sql.Literal(-1)))
    harness.note("all connections taken")
    before = load.api.refused
    with harness.database(owner=True) as owner, owner.transaction():
        owner.execute("LOCK TABLE payments IN ACCESS EXCLUSIVE MODE")
        await eventually(lambda: load.api.refused > before)
    harness.note("payments locked")


async def conflicts(harness: Harness, rounds: int) -> Load:
    """Let statements fail for conflicts, and lock rows in the wrong order against the workers."""
    async with harness.load(clients=8) as load:
        with _failing_statements(harness):
            for _ in range(8 * rounds):
                harness.note("locked in the wrong order", await asyncio.to_thread(_lock_backwards, harness))
    with psycopg.connect(postgres.url(harness.stack.layout, postgres.SUPERUSER)) as superuser:
        query = "SELECT deadlocks FROM pg_stat_database WHERE datname = %s"
        row = superuser.execute(query, [postgres.DATABASE]).fetchone()
    harness.injected["deadlock"] = row[0] if row else 0
    return load


async def disk_full(harness: Harness, rounds: int) -> Load:
    """Fill the disks of PostgreSQL and of Valkey to the last byte; make room again, and nothing is lost."""
    async with harness.load(clients=8) as load:
        for _ in range(rounds):
            await asyncio.sleep(harness.rng.uniform(0.3, 0.8))
            with _filled(harness.stack.layout.valkey):
                harness.note("disk of valkey full")
                promised = len(load.accepted)
                await eventually(lambda promised=promised: len(load.accepted) > promised + 50)
            before = load.api.refused
            with _filled(harness.stack.layout.postgres):
                harness.note("disk of postgres full")
                await eventually(lambda before=before: load.api.refused > before)
                await asyncio.sleep(1)
            promised = len(load.accepted)
            await eventually(lambda promised=promised: len(load.accepted) > promised + 50, 60)
    ids = [uuid.UUID(payment_id) for payment_id in load.accepted.values()]
    await until(harness, "SELECT count(*) = 0 FROM payments WHERE due_at IS NOT NULL AND id = ANY(%s)", ids)
    return load


@contextmanager
def _failing_statements(harness: Harness) -> Iterator[None]:
    with harness.database(owner=True) as owner:
        owner.execute(_CONFLICTS)
        harness.note("statements that conflict at random")
        try:
            yield
        finally:
            owner.execute(_NO_CONFLICTS)


def _lock_backwards(harness: Harness) -> int:
    """Lock due payments and then their orders, where the workers lock the orders first."""
    with harness.database(owner=True) as owner, suppress(psycopg.errors.DeadlockDetected), owner.transaction():
        due = owner.execute(
            "SELECT order_id FROM payments WHERE due_at IS NOT NULL AND order_id IS NOT NULL"
            " ORDER BY created_at DESC LIMIT 20 FOR UPDATE"
        ).fetchall()
        owner.execute("SELECT pg_sleep(0.2)")
        orders = [order_id for (order_id,) in due]
        random.SystemRandom().shuffle(orders)
        owner.execute("SELECT FROM orders WHERE id = ANY(%s) FOR UPDATE", [orders])
        return len(due)
    return 1


@contextmanager
def _filled(directory: Path) -> Iterator[None]:
    """Leave no byte on a directory's disk."""
    ballast = directory / "ballast"
    try:
        with ballast.open("wb") as file:
            while free := _free_bytes(directory):
                with suppress(OSError):
                    os.posix_fallocate(file.fileno(), file.tell(), free)
                file.seek(0, os.SEEK_END)
                if _free_bytes(directory) == free:
                    break
        yield
    finally:
        ballast.unlink(missing_ok=True)


def _free_bytes(directory: Path) -> int:
    found: Any = os.statvfs(directory)
    return int(found.f_bavail * found.f_frsize)
