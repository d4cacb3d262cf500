"""`python -m tests.domain.simulation`: run schedules for a while, and name the seed of the first that fails."""

import itertools
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tests.domain.simulation.run import simulate

console = Console(width=None if sys.stdout.isatty() else 132)

_AT_ONCE = 20
"""How many schedules a process is given at a time."""


def main(
    seed: Annotated[int | None, typer.Option(help="Repeats one schedule.")] = None,
    seconds: Annotated[float, typer.Option(help="For how long new schedules are begun.")] = 60,
    processes: Annotated[int, typer.Option(min=1, help="How many run at once.")] = os.cpu_count() or 1,
) -> None:
    """Interleave steps, crashes and redeliveries of the services on fakes; every cent must be booked."""
    if seed is not None:
        simulate(seed)
        console.print(f"schedule {seed}: nothing lost", highlight=False)
        return
    first, schedules, injected = random.SystemRandom().randrange(2**31), 0, Counter[str]()
    columns = (SpinnerColumn(finished_text="✓"), TextColumn("{task.completed} schedules"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("schedules", total=None)
        for found in _chunks(first, seconds, processes):
            injected.update(found)
            schedules += _AT_ONCE
            progress.update(task, completed=schedules)
    console.print(
        f"{schedules} schedules from seed {first}, {injected.total()} steps: nothing lost", highlight=False
    )
    console.print(", ".join(f"{count} {what}" for what, count in injected.most_common()), highlight=False)


def _chunks(first: int, seconds: float, processes: int) -> Iterator[Counter[str]]:
    """Yield what happened in some schedules after the other; the first that fails ends all."""
    seeds, ends_at = itertools.count(first, _AT_ONCE), time.monotonic() + seconds
    with ProcessPoolExecutor(processes) as pool:
        running: set[Future[Counter[str]]] = {pool.submit(_run, next(seeds)) for _ in range(processes)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for chunk in done:
                yield chunk.result()
                if time.monotonic() < ends_at:
                    running.add(pool.submit(_run, next(seeds)))


def _run(first: int) -> Counter[str]:
    """Run some schedules; return how often each kind of step was taken."""
    taken = Counter[str]()
    for seed in range(first, first + _AT_ONCE):
        taken.update(step.partition(" ")[2] for step in simulate(seed))
    return taken


if __name__ == "__main__":
    typer.run(main)
