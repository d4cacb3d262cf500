"""A run of the harness that is interrupted leaves nothing behind, and one of nothing is none."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from ops.stack import Stack, leftovers
from ops.stack.layout import ROOT
from tests.eventually import eventually
from tests.faults.harness import running


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
