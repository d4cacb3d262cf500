"""What a run of the harness leaves behind that is interrupted: nothing."""

import asyncio
from pathlib import Path

import pytest

from ops.stack import Stack, leftovers
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
