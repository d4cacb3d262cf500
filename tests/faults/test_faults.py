"""The short form of every fault case, one after the other on one stack a world; `make faults` runs them long."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.faults.cases import CASES, Case, World
from tests.faults.harness import Harness

pytestmark = pytest.mark.usefixtures("unmeasured")

SEED = 20_261_125


class Worlds:
    """Opens the world of a case, unless it is that of the case before, and closes the one before."""

    def __init__(self) -> None:
        self._world: World | None = None
        self._harness: Harness | None = None
        self._opened = AsyncExitStack()

    async def enter(self, world: World) -> Harness:
        """Return the harness of a world."""
        if self._harness is None or world is not self._world:
            await self.close()
            self._harness = await self._opened.enter_async_context(world(SEED))
            self._world = world
        return self._harness

    async def close(self) -> None:
        """Leave the world that is open."""
        self._harness = None
        await self._opened.aclose()


@pytest.fixture(scope="module")
async def worlds() -> AsyncIterator[Worlds]:
    worlds = Worlds()
    yield worlds
    await worlds.close()


def _case(case: Case) -> object:
    return pytest.param(case, id=case.name.replace(" ", "_"), marks=_skipped(case))


def _skipped(case: Case) -> list[pytest.MarkDecorator]:
    """Skip a case that cannot be run on this machine; CI has everything, so there it fails."""
    reason = case.missing()
    return [pytest.mark.skip(reason=reason)] if reason and os.environ.get("CI") != "true" else []


# The cases of one world follow each other, so that each is built once.
@pytest.mark.parametrize("case", [_case(case) for case in sorted(CASES, key=lambda case: case.world.__qualname__)])
async def test_no_fault_loses_or_doubles_money(worlds: Worlds, case: Case) -> None:
    harness = await worlds.enter(case.world)
    load = await case.run(harness, case.short)
    assert load.accepted, "the case made no load"
    assert await harness.violations(load) == []
