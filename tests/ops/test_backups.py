"""A backup is restored into a fresh server, to its end or to a moment, and the books there are right."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from db.pool import make_pool
from db.unit_of_work import Database
from domain.audit.model import Seal
from domain.audit.sealing import AuditSealer
from domain.clock import SystemClock
from domain.ids import PaymentId
from domain.ledger.service import LedgerService
from domain.settlement.model import Outcome, SettlementPolicy
from domain.settlement.service import SettlementService
from ops import backups
from ops.errors import BadValue, Denied, OperatorError
from ops.stack import Stack, postgres
from tests.builders import Shop
from tests.domain.fakes import RecordingAnnouncer
from tests.eventually import eventually
from tests.stripe_answers import succeeded


@asynccontextmanager
async def database_of(stack: Stack) -> AsyncIterator[Database]:
    pool = make_pool(stack.info.database_url, pool_size=2, statement_timeout_s=60)
    yield Database(pool)
    await pool.close()


async def settle_one(database: Database) -> PaymentId:
    shop = await Shop(database.begin).open()
    payment = await shop.payment(await shop.order())
    settlement = SettlementService(database.begin, RecordingAnnouncer(), SystemClock(), SettlementPolicy())
    assert await settlement.settle([Outcome(payment.id, succeeded(payment))]) == [True]
    return payment.id


def marketflow(stack: Stack, *arguments: str, stdout: int | None = None) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", "from ops.cli import main; main()", *arguments],
        env={**os.environ, "MARKETFLOW_VAR_DIR": str(stack.layout.var)},
        stdout=stdout,
    )


def told(stack: Stack, *arguments: str) -> str:
    """What a command says that ends with 0."""
    with marketflow(stack, *arguments, stdout=subprocess.PIPE) as process:
        output, _ = process.communicate()
    assert process.returncode == 0, output
    return output.decode()


async def seal(database: Database) -> str:
    """Seal what has happened; return the head of the audit log."""
    made: list[Seal] = []
    await AuditSealer(database.begin, SystemClock(), on_seal=made.append).seal()
    return made[-1].hash.hex()


def has_arrived(server: psycopg.Connection) -> bool:
    """Whether the archive has all of the log that is written by now."""
    row = server.execute(
        b"SELECT count(*) FROM pg_stat_replication WHERE flush_lsn >= pg_current_wal_flush_lsn()"
    ).fetchone()
    return row is not None and row[0] > 0


def restore(var: Path, copy: Path, log: Path, until: datetime | None = None) -> None:
    """Put a backup in the place of what a new stack would begin with."""
    with Stack(var, programs={"postgres"}) as fresh:
        data = fresh.layout.postgres_data
    data.rename(data.with_name("empty"))
    backups.restore(copy, data, log=log, until=until)


async def test_backup_and_log_bring_back_any_moment(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "MIGRATION_DATABASE_URL"):
        monkeypatch.delenv(f"MARKETFLOW_{name}", raising=False)
    place = tmp_path_factory.mktemp("backups")
    copy, log = place / "copy", place / "log"
    with Stack(place / "old", programs={"postgres"}) as old:
        address = postgres.url(old.layout, postgres.SUPERUSER)
        with psycopg.connect(address, autocommit=True) as server, marketflow(old, "archive", str(log)) as archive:
            async with database_of(old) as database:
                before = await settle_one(database)
                began = datetime.now(UTC) - timedelta(seconds=1)  # the manifest tells whole seconds
                assert marketflow(old, "backup", str(copy)).wait() == 0
                await LedgerService(database.begin).roll_up()
                after = await settle_one(database)
                head = await seal(database)
                moment = datetime.now(UTC)
                too_late = await settle_one(database)
            await eventually(lambda: has_arrived(server))
            archive.terminate()
    with pytest.raises(BadValue, match="still being made"):
        backups.restore(copy, place / "too early", log=log, until=began)
    assert not (place / "too early").exists()
    restored = place / "new"
    restore(restored, copy, log, until=moment + timedelta(microseconds=1))

    with Stack(restored, programs={"postgres"}) as new:
        async with database_of(new) as database:
            async with database.begin() as tx:
                found = await tx.payment_work.by_ids([before, after, too_late])
            assert set(found) == {before, after}
            books = await LedgerService(database.begin).verify()
            assert (books.faults, books.journals) == ([], 4)
        verified = [json.loads(told(new, name, "verify", "--json")) for name in ("ledger", "audit")]
        assert verified[0]["faults"] == []
        assert (verified[1]["findings"], verified[1]["head"]["hash"]) == ([], head)
        async with database_of(new) as database:
            # And life goes on: what is posted from now on counts.
            await settle_one(database)
            await LedgerService(database.begin).roll_up()
            books = await LedgerService(database.begin).verify()
            assert (books.faults, books.journals) == ([], 6)
            held = {balance.account: balance.balance_minor for balance in books.totals}
            assert held["stripe_balance"] == 3 * (1999 - 88)
        await restore_once_more(new, place)


async def restore_once_more(stack: Stack, place: Path) -> None:
    """What was restored to a moment is backed up, and restored to its end."""
    copy, log = place / "second copy", place / "second log"
    address = postgres.url(stack.layout, postgres.SUPERUSER)
    with psycopg.connect(address, autocommit=True) as server, marketflow(stack, "archive", str(log)) as archive:
        assert marketflow(stack, "backup", str(copy)).wait() == 0
        async with database_of(stack) as database:
            last = await settle_one(database)
        await eventually(lambda: has_arrived(server))
        archive.terminate()
    restored = place / "newest"
    restore(restored, copy, log)

    with Stack(restored, programs={"postgres"}) as newest:
        async with database_of(newest) as database, database.begin() as tx:
            assert set(await tx.payment_work.by_ids([last])) == {last}
        assert json.loads(told(newest, "ledger", "verify", "--json"))["faults"] == []


def test_password_is_on_no_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = tmp_path / "noted"
    (tmp_path / "bin").mkdir()
    for program in ("pg_basebackup", "pg_receivewal"):
        (tmp_path / "bin" / program).write_text(f'#!/bin/sh\necho "$PGPASSWORD:$0 $*" >> {noted}\n')
        (tmp_path / "bin" / program).chmod(0o755)
    monkeypatch.setattr(postgres, "installation", lambda: tmp_path)
    monkeypatch.setattr(
        os, "execve", lambda _, line, environment: subprocess.run(line, env=environment, check=True)
    )
    url = "postgresql://owner:hush%20hush@db.example:5433/marketflow?sslmode=require"

    with pytest.raises(OperatorError, match="no manifest"):
        backups.back_up(url, tmp_path / "copy")
    backups.archive(url, tmp_path / "log")

    lines = noted.read_text().splitlines()
    assert [line.partition(" --")[0] for line in lines] == [
        f"hush hush:{tmp_path}/bin/{program}" for program in ("pg_basebackup", *["pg_receivewal"] * 2)
    ]
    for line in lines:
        assert "hush" not in line.removeprefix("hush hush:")
        assert "--dbname=user=owner dbname=marketflow host=db.example port=5433 sslmode=require --" in line


def test_damaged_backup_is_refused(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    with pytest.raises(OperatorError, match="no manifest"):
        backups.restore(copy, tmp_path / "data")

    (copy / "backup_manifest").write_text("{}")
    with pytest.raises(Denied, match="pg_verifybackup failed"):
        backups.restore(copy, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").touch()

    for attempt in (
        lambda: backups.restore(tmp_path / "copy", tmp_path / "data"),
        lambda: backups.back_up("postgresql://nowhere", tmp_path / "data"),
    ):
        with pytest.raises(OperatorError, match="not empty"):
            attempt()


def test_moment_needs_the_log(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="archived log"):
        backups.restore(tmp_path / "copy", tmp_path / "data", until=datetime.now(UTC))


def test_log_with_a_gap_is_not_taken_for_the_whole(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "MIGRATION_DATABASE_URL"):
        monkeypatch.delenv(f"MARKETFLOW_{name}", raising=False)
    place = tmp_path_factory.mktemp("gaps")
    copy, log = place / "copy", place / "log"
    with Stack(place / "old", programs={"postgres"}) as old:
        with psycopg.connect(postgres.url(old.layout, postgres.SUPERUSER), autocommit=True) as server:
            backups.back_up(postgres.url(old.layout, postgres.SUPERUSER), copy)
            moment = datetime.now(UTC) + timedelta(seconds=1)
            for _ in range(3):
                server.execute("CREATE TABLE something (n int); DROP TABLE something")
                server.execute("SELECT pg_switch_wal()")
        shutil.copytree(
            old.layout.postgres_data / "pg_wal", log, ignore=shutil.ignore_patterns("archive_status", "summaries")
        )
    last = max(path.name for path in (copy / "pg_wal").glob("0*"))
    after = sorted(path for path in log.iterdir() if path.name > last)
    backups.restore(copy, place / "whole", log=log)

    for lost in after[:2]:  # the one that follows the backup, and one in the middle
        kept = lost.rename(place / lost.name)
        with pytest.raises(Denied, match=f"…{lost.name[8:]} is missing"):
            backups.restore(copy, place / "new", log=log)
        assert not (place / "new").exists()
        kept.rename(lost)

    after[1].unlink()
    backups.restore(copy, place / "before", log=log, until=moment)  # the server says whether it gets there
