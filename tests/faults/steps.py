"""What several cases do: rounds under load, waiting for the database, accepting in time, one more process."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

from ops.stack.stack import Stack
from tests.faults.harness import Harness
from tests.faults.load import Load

Round = Callable[[Harness, Load], Awaitable[None]]

ACCEPT_BOUND_S = 2.0
_TRIES = 3
_END_S = 120


def under_load(one_round: Round, *, pause_s: float = 0.4) -> Callable[[Harness, int], Awaitable[Load]]:
    """Make a case of a round that is repeated at seeded moments while customers pay."""

    async def run(harness: Harness, rounds: int) -> Load:
        async with harness.load() as load:
            for _ in range(rounds):
                await asyncio.sleep(harness.rng.uniform(pause_s / 2, pause_s * 2))
                await one_round(harness, load)
            await asyncio.sleep(pause_s)
        return load

    return run


async def until(harness: Harness, query: str, *values: object) -> None:
    """Wait until a query is true; the invariants tell if it never is."""
    with harness.database() as connection:
        for _ in range(2_400):
            row = connection.execute(query, values).fetchone()
            if row is not None and row[0]:
                return
            await asyncio.sleep(0.05)
    raise TimeoutError(query)


async def accepts_promptly(load: Load) -> None:
    """Accept a payment within the bound, whatever is away.

    What waits for something that is away is late each time; one late answer alone is the machine's.
    """
    took_s = []
    for _ in range(_TRIES):
        load.api.slowest_s = 0.0
        await load.pay()
        took_s.append(load.api.slowest_s)
        if took_s[-1] <= ACCEPT_BOUND_S:
            return
    load.problems.append(f"payments were accepted after {', '.join(f'{each_s:.1f}' for each_s in took_s)} s")


@contextmanager
def accepting_promptly(load: Load) -> Iterator[None]:
    """Check that the load is not late again and again with whatever is asked for meanwhile.

    What is late at one time is late once, for that may be the machine.
    """
    began = time.monotonic()
    yield
    spells = load.api.late_spells(began, ACCEPT_BOUND_S)
    if spells >= _TRIES:
        load.problems.append(f"{spells} times what was asked for took longer than {ACCEPT_BOUND_S} s")


@contextmanager
def extra_process(stack: Stack, *arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """Run another Celery process beside those of the stack; one that ends by itself has proved nothing."""
    command = [sys.executable, "-m", "celery", "-A", "workers.main", *arguments]
    variables = {**stack.plan.environment, **(environment or {})}
    with (stack.layout.logs / "extra.log").open("ab") as log:
        process = subprocess.Popen(command, env=variables, stdout=log, stderr=log)
    try:
        yield
        if process.poll() is not None:
            raise RuntimeError(f"celery {' '.join(arguments)} ended with {process.returncode}")
    finally:
        process.terminate()
        process.wait(_END_S)
