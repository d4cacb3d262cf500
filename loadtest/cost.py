"""`python -m loadtest.cost`: what a payment costs in CPU time, by process and, with py-spy, by layer.

CPU time tells what work was done, whoever else uses the machine; `loadtest/BUDGET.md` keeps what it said.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from loadtest.bed import ACCEPTED, Bed, http_request, open_bed, run_client
from loadtest.client import Plan
from loadtest.settle import clear
from ops.stack.interruption import interrupted_by_signals

PROGRAMS = ("api", "workers", "deliveries", "stripe", "postgres", "valkey", "flower", "beat")
_LAYERS = (
    "stripe/",
    "aiohttp/",
    "psycopg",
    "celery/",
    "kombu/",
    "redis/",
    "gunicorn/",
    "falcon/",
    "pydantic/",
    "prometheus_client/",
    "structlog/",
    "json/",
    "domain/",
    "db/",
    "api/",
    "workers/",
    "ops/",
)
_PRESSING_RATE = 1_300.0
"""Payments a second, more than two cores accept and settle at once."""
_WARM_UP_S = 5.0
_LOOP = "the loop, the kernel"
_WAITING = ("wait (threading.py", "_worker (concurrent/futures/thread.py", "wait_for_signals (gunicorn/arbiter.py")
"""Where a thread waits that py-spy takes for a running one."""


@dataclass(slots=True)
class Cost:
    """What some requests cost: microseconds of CPU for one of them, by process and by a process's layer."""

    name: str
    items: int
    by_program: Mapping[str, float]
    by_layer: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def main() -> int:
    """Measure and show."""
    options = _parser().parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    console = Console(width=None if sys.stdout.isatty() else 120)
    with (
        interrupted_by_signals(),
        tempfile.TemporaryDirectory(prefix="marketflow-cost-") as directory,
        open_bed(Path(directory), quick=True, tell=console.print) as bed,
    ):
        stacks = options.stacks or Path(directory)
        for stage in options.only:
            console.print(_table(stage(bed, options.payments, _Spy(bed, stacks) if options.layers else None)))
    return 0


def _accept(bed: Bed, count: int, spy: "_Spy | None") -> Cost:
    """Accept payments that nobody settles yet."""
    bed.stack.stop_program("workers")
    bed.accept(seconds=2)
    return _measured("accept", bed, lambda: _accepted(bed, limit=count), spy, ("api",))


def _accepted(bed: Bed, **plan: Any) -> int:
    """Put payments on the API, and return how many it accepted."""
    return bed.accept(seconds=120, **plan).statuses.get(ACCEPTED, 0)


def _settle(bed: Bed, count: int, spy: "_Spy | None") -> Cost:
    """Settle accepted payments, until the last webhook of them is worked off."""
    with bed.database() as connection, ExitStack() as held:
        clear(bed, connection, lambda _: None)
        held.enter_context(bed.workers_held())
        bed.accept(seconds=120, limit=count)
        bed.analyze()
        waiting = bed.pending(connection)

        def settle() -> int:
            held.close()
            bed.drain(connection, lambda _: None)
            bed.drain_events(connection, lambda _: None)
            return waiting

        return _measured("settle", bed, settle, spy, ("workers", "stripe", "api"))


def _both(bed: Bed, count: int, spy: "_Spy | None") -> Cost:
    """Accept more than can be settled at once, and settle it, until the last webhook is worked off."""
    with bed.database() as connection:
        clear(bed, connection, lambda _: None)
        bed.accept(seconds=_WARM_UP_S, rate=_PRESSING_RATE)
        bed.drain(connection, lambda _: None)
        bed.drain_events(connection, lambda _: None)
        bed.analyze()

        def accept_and_settle() -> int:
            accepted = _accepted(bed, rate=_PRESSING_RATE, limit=4 * count)
            bed.drain(connection, lambda _: None)
            bed.drain_events(connection, lambda _: None)
            return accepted

        return _measured("both", bed, accept_and_settle, spy, ("api", "workers", "stripe"))


def _read(bed: Bed, count: int, spy: "_Spy | None") -> Cost:
    """Read settled payments, each by its payer."""
    with bed.database() as connection:
        bed.stack.start_program("workers")
        bed.accept(seconds=120, limit=1000)
        bed.drain(connection, lambda _: None)
        bed.drain_events(connection, lambda _: None)
        query = b"SELECT payer_id, id FROM payments ORDER BY id DESC LIMIT 1000"
        rows = connection.execute(query).fetchall()
    requests = [
        http_request("GET", f"/v1/payments/{payment_id}", {"Authorization": f"Bearer {bed.token_of[payer_id]}"})
        for payer_id, payment_id in rows
    ]
    plan = Plan(*bed.address, requests, seconds=120, limit=4 * count)
    return _measured("read", bed, lambda: run_client(plan).statuses.get(HTTPStatus.OK, 0), spy, ("api",))


_Stage = Callable[[Bed, int, "_Spy | None"], Cost]
_STAGES: Sequence[_Stage] = (_accept, _settle, _both, _read)


def _measured(name: str, bed: Bed, work: Callable[[], int], spy: "_Spy | None", spied: Sequence[str]) -> Cost:
    """Return the cost of work, shared among as many items as it says it did."""
    with spy.watching(name, spied) if spy else _unwatched() as samples:
        before = _cpu_seconds(bed)
        items = work()
        spent = {program: after - before[program] for program, after in _cpu_seconds(bed).items()}
    by_program = {program: 1e6 * seconds / items for program, seconds in spent.items()}
    by_layer = {
        program: {layer: by_program[program] * n / found.total() for layer, n in found.most_common()}
        for program, found in samples.items()
        if found
    }
    return Cost(name, items, by_program, by_layer)


@contextmanager
def _unwatched() -> Iterator[Mapping[str, Counter[str]]]:
    yield {}


def _cpu_seconds(bed: Bed) -> dict[str, float]:
    """Return the CPU time that each program has used, and the load client."""
    spent = {program: sum(_cpu_of(pid) for pid in bed.stack.pids(program, children=True)) for program in PROGRAMS}
    mine = os.times()
    return spent | {"client": mine.children_user + mine.children_system}


def _cpu_of(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0  # a server process of PostgreSQL that has just gone
    return float(times.user + times.system)


class _Spy:
    """py-spy beside the processes of some programs; it samples without stopping them."""

    def __init__(self, bed: Bed, stacks: Path) -> None:
        """Keep whose processes, and where the stacks go."""
        self._bed = bed
        self._stacks = stacks
        self._command = shutil.which(
            "py-spy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        )
        if self._command is None:
            raise SystemExit("py-spy is not installed: `pip install py-spy`, or measure without --layers")

    @contextmanager
    def watching(self, name: str, programs: Sequence[str]) -> Iterator[dict[str, Counter[str]]]:
        """Sample for the length of the block; the samples of each layer are there at its end."""
        spies = [
            (program, self._stacks / f"{name}.{program}.{pid}.raw", pid)
            for program in programs
            for pid in self._bed.stack.pids(program, children=True)
        ]
        running = [self._start(pid, path) for _, path, pid in spies]
        samples: dict[str, Counter[str]] = {program: Counter() for program in programs}
        try:
            yield samples
        finally:
            for process in running:
                process.send_signal(2)
                process.wait(timeout=30)
        for program, path, _ in spies:
            samples[program] += _layers(path)

    def _start(self, pid: int, path: Path) -> subprocess.Popen[bytes]:
        options = (
            "--nonblocking",
            "--rate",
            "100",
            "--format",
            "raw",
            "--output",
            str(path),
            "--duration",
            "3600",
        )
        return subprocess.Popen(  # noqa: S603 - our own arguments
            (str(self._command), "record", *options, "--pid", str(pid)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def _layers(path: Path) -> Counter[str]:
    """Count the samples of each layer: that of the innermost frame which belongs to one."""
    found: Counter[str] = Counter()
    if not path.exists():
        return found
    for line in path.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        if any(waiting in stack.rpartition(";")[2] for waiting in _WAITING):
            continue
        found[_layer(stack.split(";"))] += int(count)
    return found


def _layer(frames: Sequence[str]) -> str:
    for frame in reversed(frames):
        for layer in _LAYERS:
            if f"({layer}" in frame or f"/{layer}" in frame:
                return layer.rstrip("/")
    return _LOOP


def _table(cost: Cost) -> Table:
    table = Table("µs of CPU", "each", title=f"{cost.name}: {cost.items:,}", title_justify="left")
    for program, spent_us in cost.by_program.items():
        table.add_row(program, f"{spent_us:,.0f}")
        for layer, part_us in cost.by_layer.get(program, {}).items():
            if part_us >= 1:
                table.add_row(f"  {layer}", f"{part_us:,.0f}", style="dim")
    table.add_row("all", f"{sum(cost.by_program.values()):,.0f}")
    return table


def _name(stage: _Stage) -> str:
    return stage.__name__.strip("_")


def _stages(text: str) -> Sequence[_Stage]:
    wanted, known = text.split(","), [_name(stage) for stage in _STAGES]
    if unknown := set(wanted) - set(known):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not one of {', '.join(known)}")
    return [stage for stage in _STAGES if _name(stage) in wanted]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest.cost", description=__doc__)
    names = ",".join(_name(stage) for stage in _STAGES)
    parser.add_argument("--only", type=_stages, default=names, help="some of %(default)s")
    parser.add_argument("--payments", type=int, default=4_000, metavar="N")
    parser.add_argument("--layers", action="store_true", help="tell the layers apart too, with py-spy")
    parser.add_argument("--stacks", type=Path, metavar="DIRECTORY", help="keep py-spy's stacks there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
