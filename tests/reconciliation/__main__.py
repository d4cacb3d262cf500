"""`python -m tests.reconciliation`: reconcile 100,000 payments with planted breaks, and say what it costs."""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from domain.ids import ReconciliationId
from ops.stack.interruption import interrupted_by_signals
from tests.reconciliation.bed import Bed, open_bed

console = Console(width=None if sys.stdout.isatty() else 132)


def main(
    payments: Annotated[int, typer.Option(min=1, help="How many payments.")] = 100_000,
    breaks: Annotated[int, typer.Option(min=0, help="How many breaks of each of 15 ways.")] = 4,
    seed: Annotated[int, typer.Option(help="Repeats a run.")] = 1,
) -> None:
    """Make both sides, reconcile a tenth of the period, then all of it, then all again; compare the memory."""
    with interrupted_by_signals(), tempfile.TemporaryDirectory(prefix="marketflow-reconciliation-") as directory:
        # PostgreSQL may run as a user of its own, which must get there.
        Path(directory).chmod(0o755)
        failed = asyncio.run(_measure(Path(directory), payments, breaks, seed))
    raise typer.Exit(1 if failed else 0)


async def _measure(directory: Path, payments: int, breaks: int, seed: int) -> bool:
    began = time.monotonic()
    async with open_bed(directory, payments, breaks, seed=seed) as bed:
        lines = len(bed.sides.tables["balance_transactions"])
        console.print(
            f"{payments} payments, {lines} lines, made in {time.monotonic() - began:.0f} s", highlight=False
        )
        oldest = datetime.fromtimestamp(
            min(row["created"] for row in bed.sides.tables["balance_transactions"].values()), bed.now.tzinfo
        )
        tenth = oldest + (bed.now - oldest) / 10
        table = Table("run", "lines", "s", "lines/s", "CPU s", "MiB before", "MiB at most", title="reconciliation")
        wrong: list[str] = []
        for name, to_at in (("a tenth", tenth), ("all", bed.now), ("all again", bed.now)):
            before = await asyncio.to_thread(bed.lasting)
            told = await asyncio.to_thread(_run, bed, bed.now - timedelta(days=1), to_at)
            report = await bed.report(ReconciliationId(UUID(told["id"])))
            table.add_row(
                name,
                str(report.run.lines),
                f"{told['seconds']:.1f}",
                f"{report.run.lines / told['seconds']:.0f}",
                f"{told['cpu_seconds']:.1f}",
                f"{told['before_mib']:.0f}",
                f"{told['peak_mib']:.0f}",
            )
            if report.statement is None or not report.statement.ties:
                wrong.append(f"{name}: the books do not tie")
            if name == "all again" and await asyncio.to_thread(bed.lasting) != before:
                wrong.append("the second run has changed something")
        found = bed.found()
        planted = bed.sides.planted
        wrong += [
            f"{key}: planted {planted.get(key)}, found {found.get(key)}"
            for key in sorted(planted.keys() | found.keys())
            if planted.get(key) != found.get(key)
        ]
        wrong += [f"{fault.what}: {fault.where}" for fault in (await bed.verify()).faults]
        console.print(table)
        console.print(_breaks(Counter(planted.values()), Counter(found.values())))
        for line in wrong[:20]:
            console.print(f"WRONG: {line}", style="red", highlight=False)
        return bool(wrong)


def _run(bed: Bed, from_at: datetime, to_at: datetime) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.reconciliation.run", from_at.isoformat(), to_at.isoformat()]
    done = subprocess.run(command, env=bed.environment, check=True, capture_output=True, text=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _breaks(planted: Counter[Any], found: Counter[Any]) -> Table:
    table = Table("break", "becomes", "planted", "found", title="breaks")
    for kind, status in sorted(planted | found):
        table.add_row(kind, status, str(planted[kind, status]), str(found[kind, status]))
    return table


if __name__ == "__main__":
    typer.run(main)
