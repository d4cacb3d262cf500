"""Payments, refunds, disputes, fees and payouts on both sides, and a break of each way: all found, no other."""

import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from domain.clock import SystemClock
from domain.ids import ReconciliationId
from domain.reconciliation.desk import ReconciliationDesk
from domain.reconciliation.model import BreakKind
from ops.stack.layout import ROOT
from tests.reconciliation.bed import REPLACING, Bed, open_bed
from tests.reconciliation.run import reconcile


@pytest.fixture(scope="module")
async def bed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bed]:
    with pytest.MonkeyPatch.context() as patch:
        for name in REPLACING:
            patch.delenv(f"MARKETFLOW_{name}", raising=False)
        async with open_bed(tmp_path_factory.mktemp("reconciliation"), payments=300, breaks_each=1) as bed:
            yield bed


async def run(bed: Bed) -> ReconciliationId:
    desk = ReconciliationDesk(bed.database.begin, SystemClock())
    ordered = await desk.order(bed.now - timedelta(days=1), bed.now, requested_by=None)
    await reconcile(bed.settings)
    return ordered.id


async def test_every_planted_break_is_found_and_no_other(bed: Bed) -> None:
    run_id = await run(bed)

    assert bed.found(run_id) == bed.sides.planted
    assert {kind for kind, _ in bed.sides.planted.values()} == set(BreakKind)
    report = await bed.report(run_id)
    assert report.statement is not None
    assert report.statement.ties
    assert report.run.lines == len(bed.sides.tables["balance_transactions"])
    assert (await bed.verify()).faults == []


async def test_second_run_over_the_same_period_changes_nothing(bed: Bed) -> None:
    first = await run(bed)
    before, found = bed.lasting(), bed.found(first)

    second = await run(bed)

    assert bed.lasting() == before
    assert bed.found(second) == {key: plant for key, plant in found.items() if plant[1] == "open"}


def test_run_of_no_payments_is_refused() -> None:
    command = [sys.executable, "-m", "tests.reconciliation", "--payments", "0"]

    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    assert run.returncode == 2
    assert "--payments" in run.stderr
