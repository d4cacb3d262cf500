"""`python -m tests.domain.simulation`: run schedules for a while, and name the seed of the first that fails."""

import random
import sys
import time
from collections import Counter
from typing import Annotated

import typer
from rich.console import Console

from tests.domain.simulation.run import simulate

console = Console(width=None if sys.stdout.isatty() else 132)


def main(
    seed: Annotated[int | None, typer.Option(help="Repeats one schedule.")] = None,
    seconds: Annotated[float, typer.Option(help="For how long new schedules are begun.")] = 60,
) -> None:
    """Interleave steps, crashes and redeliveries of the services on fakes; every cent must be booked."""
    if seed is not None:
        simulate(seed)
        console.print(f"schedule {seed}: nothing lost", highlight=False)
        return
    first = random.SystemRandom().randrange(2**31)
    began, schedules, injected = time.monotonic(), 0, Counter[str]()
    while time.monotonic() - began < seconds:
        trace = simulate(first + schedules)
        injected.update(step.partition(" ")[2] for step in trace)
        schedules += 1
    console.print(
        f"{schedules} schedules from seed {first}, {injected.total()} steps: nothing lost", highlight=False
    )
    console.print(", ".join(f"{count} {what}" for what, count in injected.most_common()), highlight=False)


if __name__ == "__main__":
    typer.run(main)
