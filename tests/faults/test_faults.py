"""The short form of every fault case, one after the other on one stack; `make faults` runs them long."""

from collections.abc import AsyncIterator

import pytest

from tests.faults.cases import CASES, Case
from tests.faults.harness import Harness, open_harness

SEED = 20_261_125


@pytest.fixture(scope="module")
async def harness() -> AsyncIterator[Harness]:
    async with open_harness(SEED) as harness:
        yield harness


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "_"))
async def test_no_fault_loses_or_doubles_money(harness: Harness, case: Case) -> None:
    load = await case.run(harness, case.short)
    assert load.accepted, "the case made no load"
    assert await harness.violations(load) == []
