"""`python -m tests.faults`: run the long cases with a seed, and print what was injected and what was lost."""

import asyncio
import random
import sys
import time
import traceback
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ops.stack.interruption import interrupted_by_signals
from tests.faults.cases import CASES, Case
from tests.faults.invariants import Violation

console = Console(width=None if sys.stdout.isatty() else 132)
_MAX_CHARS = 500


def main(
    seed: Annotated[int | None, typer.Option(help="Repeats a run; drawn and shown if not given.")] = None,
    case: Annotated[list[str] | None, typer.Option(help="Only cases whose name holds this; several.")] = None,
    *,
    short: Annotated[bool, typer.Option("--short", help="As few rounds as in the tests.")] = False,
) -> None:
    """Kill, cut and delay while payments run; then prove that every cent is booked."""
    drawn = random.SystemRandom().randrange(2**31) if seed is None else seed
    chosen = [one for one in CASES if not case or any(part in one.name for part in case)]
    for part in case or []:
        if not any(part in one.name for one in CASES):
            # To run none of what was asked for must not look like having found nothing.
            raise typer.BadParameter(
                f"no case is called {part}. There are: {', '.join(one.name for one in CASES)}"
            )
    console.print(f"seed {drawn}; to repeat: python -m tests.faults --seed {drawn}", highlight=False)
    table = Table("case", "accepted", "injected", "lost or wrong", "s", title=f"faults, seed {drawn}")
    failed = False
    for one in chosen:
        if reason := one.missing():
            table.add_row(one.name, "", "", f"not run: {reason}", "")
            continue
        began = time.monotonic()
        accepted, injected, violations = attempt(one, drawn, one.short if short else one.long)
        failed = failed or bool(violations)
        table.add_row(
            one.name,
            accepted,
            ", ".join(f"{count} {what}" for what, count in injected.items()),
            escape("\n".join(violations[:10])) or "nothing",
            f"{time.monotonic() - began:.0f}",
        )
        told = escape("; ".join(violations[:3])) or "nothing lost"
        console.print(f"{one.name}: {told}", highlight=False)
    console.print(table)
    raise typer.Exit(1 if failed else 0)


def attempt(case: Case, seed: int, rounds: int) -> tuple[str, dict[str, int], list[Violation]]:
    """Run one case as `run_case` does; where that breaks off nothing was proved, which is a violation as well."""
    try:
        with interrupted_by_signals():
            accepted, injected, violations = asyncio.run(run_case(case, seed, rounds))
    except Exception as error:  # noqa: BLE001 - whatever it is, the cases after this one are worth running
        traceback.print_exc()
        return "", {}, [f"broke off: {type(error).__name__}: {error}"[:_MAX_CHARS]]
    return str(accepted), injected, violations


async def run_case(case: Case, seed: int, rounds: int) -> tuple[int, dict[str, int], list[Violation]]:
    """Run one case on a stack of its own; return the number of promises, the faults and the violations."""
    async with case.world(seed) as harness:
        load = await case.run(harness, rounds)
        violations = await harness.violations(load)
        return len(load.accepted), harness.injected, violations


if __name__ == "__main__":
    typer.run(main)
