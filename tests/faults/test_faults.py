"""The short form of every fault case, one after the other on one stack a world; `make faults` runs them long."""

import os
from collections.abc import AsyncIterator

import pytest

from tests.faults.cases import CASES, Case
from tests.faults.harness import Harness

SEED = 20_261_125


@pytest.fixture(scope="module")
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[Harness]:
    async with request.param(SEED) as harness:
        yield harness


def _case(case: Case) -> object:
    """Cases of one world follow each other, as pytest orders them, so that each world is built once."""
    return pytest.param(case.world, case, id=case.name.replace(" ", "_"), marks=_skipped(case))


def _skipped(case: Case) -> list[pytest.MarkDecorator]:
    """Skip a case that cannot be run on this machine; CI has everything, so there it fails."""
    reason = case.missing()
    return [pytest.mark.skip(reason=reason)] if reason and os.environ.get("CI") != "true" else []


@pytest.mark.parametrize(("harness", "case"), [_case(case) for case in CASES], indirect=["harness"])
async def test_no_fault_loses_or_doubles_money(harness: Harness, case: Case) -> None:
    load = await case.run(harness, case.short)
    assert load.accepted, "the case made no load"
    assert await harness.violations(load) == []
