"""A run of the harness that is interrupted leaves nothing behind, and one of nothing is none."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
import typer

from ops.stack import Stack, leftovers
from ops.stack.layout import ROOT
from tests.eventually import eventually
from tests.faults.__main__ import main
from tests.faults.cases import Case
from tests.faults.harness import Harness, running
from tests.faults.invariants import none_quarantined, payable
from tests.faults.load import Load


async def test_start_that_is_interrupted_is_stopped_when_it_is_over(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "var", programs={"valkey"})

    async def run() -> None:
        async with running(stack):
            pytest.fail("it was interrupted before")

    task = asyncio.create_task(run())
    await eventually(stack.layout.ports.exists)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert not stack.layout.info.exists()
    assert leftovers.find(stack.layout) == []


def test_name_that_no_case_has_is_refused() -> None:
    command = [sys.executable, "-m", "tests.faults", "--short", "--case", "of this test"]

    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    assert run.returncode == 2
    assert "no case is called of this test" in run.stderr


def test_intent_that_can_still_be_paid_is_found() -> None:
    intents = [
        {"status": status, "metadata": {"payment_id": status}}
        for status in ("succeeded", "canceled", "requires_payment_method", "requires_action", "requires_capture")
    ]

    found = payable({"payment_intents": intents})

    assert [each.rpartition(" ")[2] for each in found] == [
        "requires_payment_method",
        "requires_action",
        "requires_capture",
    ]


def test_webhook_in_quarantine_is_found(owner_url: str) -> None:
    with psycopg.connect(owner_url) as connection:
        connection.execute(
            "INSERT INTO stripe_events (id, type, body, status, received_at, handled_at)"
            " VALUES ('evt_of_the_harness', 'charge.updated', '{}', 'quarantined', now(), now())"
        )
        found = none_quarantined(connection)
        connection.rollback()

    assert "stripe_events: evt_of_the_harness is quarantined: charge.updated" in found


@asynccontextmanager
async def no_world(seed: int) -> AsyncIterator[Harness]:
    raise OSError(28, f"No space left [/for {seed}]")
    yield


async def never(harness: Harness, rounds: int) -> Load:
    raise AssertionError


def test_case_that_breaks_off_is_shown_as_failed_and_the_others_are_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = [
        Case("breaks off", never, 1, 1, world=no_world),
        Case("cannot run", never, 1, 1, missing=lambda: "nothing to run it on"),
        Case("breaks off as well", never, 1, 1, world=no_world),
    ]
    monkeypatch.setattr("tests.faults.__main__.CASES", cases)

    with pytest.raises(typer.Exit) as ended:
        main(seed=7)

    assert ended.value.exit_code == 1
    told, table = capsys.readouterr().out.split(" faults, seed 7 ")
    broke_off = "broke off: OSError: [Errno 28] No space left [/for 7]"
    assert told.splitlines()[1:-1] == [f"breaks off: {broke_off}", f"breaks off as well: {broke_off}"]
    assert table.count(broke_off) == 2
    assert "not run: nothing to run it on" in table
