"""`python -m loadtest.load SCENARIO`: a crowd of Locust's users, on a stack that is started and stopped for it.

Ends with 0 only if no request failed and the books tie. Without a scenario it lists them.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from loadtest.crowd import Outcome, Scenario, gather
from loadtest.figures import Tell
from loadtest.progress import in_lines
from ops.stack.interruption import interrupted_by_signals

SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "checkout",
            "steady checkout: search, look, fill a cart, order it, pay, come back for the outcome",
            users=50,
            seconds=60,
            stages=((0, 0.2), (0.2, 1), (0.9, 1), (1, 0.3)),
        ),
        Scenario(
            "flash",
            "flash sale: everybody wants one product of one seller at once, until it is gone",
            users=100,
            seconds=45,
            stages=((0, 0.1), (0.15, 0.1), (0.2, 1), (1, 1)),
            is_sale=True,
        ),
        Scenario(
            "polling",
            "polling storm: clients ask for their payments again and again, in waves",
            users=100,
            seconds=60,
            stages=((0, 0.2), (0.3, 1), (0.5, 0.3), (0.7, 1), (1, 1)),
        ),
        Scenario(
            "webhooks",
            "webhook flood: Stripe repeats itself, old news under new ids, forgeries; customers still pay",
            users=50,
            seconds=45,
            stages=((0, 0.5), (0.1, 1), (1, 1)),
            needs_events=True,
        ),
        Scenario(
            "soak",
            "soak with faults: customers buy and get money back for long, while Stripe is slow, fails and repeats",
            users=30,
            seconds=600,
            stages=((0, 0.3), (0.25, 1), (0.5, 0.5), (0.75, 1), (1, 0.5)),
            is_troubled=True,
        ),
    )
}
_CLAIM = ("to beat", "", "3,247", "", "42", "65", "87")
_CLAIMED = "to beat: what services written in Rust claim for this work"
_SHARES = (0.5, 0.95, 0.99)
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Answers:
    """Requests of one name: how many, how many failed, and how many took how many ms, as Locust counts them."""

    name: str
    count: int
    failed: int
    times: Counter[int]

    def quantiles_ms(self) -> Sequence[int]:
        """Return p50, p95 and p99."""
        return [_quantile(self.times, share) for share in _SHARES]


def main() -> int:
    """Run a scenario, show what came of it, and return the exit code."""
    options = _parser().parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    if options.scenario is None:
        console.print(_scenarios())
        return 0
    scenario = SCENARIOS[options.scenario]
    with interrupted_by_signals(), _telling(scenario.name, console) as tell:
        outcome = asyncio.run(
            gather(
                scenario,
                users=options.users or scenario.users,
                seconds=options.duration or scenario.seconds,
                processes=options.processes,
                tell=tell,
            )
        )
    return _show(outcome, console)


@contextmanager
def _telling(name: str, console: Console) -> Iterator[Tell]:
    """Yield what tells how the scenario gets on: in one place of a terminal, elsewhere by a line now and then."""
    if not console.is_terminal:
        tell, done = in_lines(name, console)
        yield tell
        done()
        return
    with console.status(f"{name}: ") as status:
        yield lambda text: status.update(f"{name}: {text}")


def _show(outcome: Outcome, console: Console) -> int:
    answers, seconds = read_stats(outcome.stats)
    whole = _together(answers)
    console.print(_table([*answers, whole], seconds))
    p50, p95, p99 = outcome.settled_ms
    console.print(f"from accepted to settled: p50 {p50:,.0f} ms, p95 {p95:,.0f} ms, p99 {p99:,.0f} ms")
    if outcome.injected:
        console.print("Stripe: " + ", ".join(f"{count} x {what}" for what, count in outcome.injected.items()))
    console.print(f"{outcome.promises:,} payments were accepted; lost or wrong: {len(outcome.violations)}")
    for violation in outcome.violations[:_SHOWN]:
        console.print(f"  {violation}")
    console.print(f"report: {outcome.report}")
    if outcome.exit_code or whole.failed or not whole.count:
        console.print(f"Locust ended with {outcome.exit_code}, {whole.failed:,} errors; see {outcome.log}")
        return 1
    return 1 if outcome.violations else 0


def read_stats(path: Path) -> tuple[Sequence[Answers], float]:
    """Return what Locust counted, and over how many seconds."""
    entries = json.loads(path.read_text(encoding="utf-8"))
    answers = [
        Answers(
            f"{entry['method']} {entry['name']}",
            entry["num_requests"],
            entry["num_failures"],
            Counter({int(time_ms): count for time_ms, count in entry["response_times"].items()}),
        )
        for entry in sorted(entries, key=lambda entry: (entry["name"], entry["method"]))
    ]
    ends = [entry["last_request_timestamp"] or time.time() for entry in entries]
    starts = [entry["start_time"] for entry in entries]
    return answers, max(ends, default=1.0) - min(starts, default=0.0)


def _together(answers: Sequence[Answers]) -> Answers:
    times: Counter[int] = Counter()
    for each in answers:
        times.update(each.times)
    return Answers("all", sum(a.count for a in answers), sum(a.failed for a in answers), times)


def _quantile(times: Counter[int], share: float) -> int:
    """Return the time within which that share was answered."""
    wanted, counted = share * times.total(), 0
    for time_ms, count in sorted(times.items()):
        counted += count
        if counted >= wanted:
            return time_ms
    return 0


def _table(answers: Sequence[Answers], seconds: float) -> Table:
    title = f"{seconds:.0f} s, {os.cpu_count()} cores that Locust shares"
    table = Table("requests", title=title, title_justify="left", caption=_CLAIMED, caption_justify="left")
    for heading in ("answers", "a second", "errors", "p50 ms", "p95 ms", "p99 ms"):
        table.add_column(heading, justify="right")
    for each in answers:
        rate = f"{each.count / seconds:,.0f}"
        quantiles = [f"{time_ms:,}" for time_ms in each.quantiles_ms()]
        style = "red" if each.failed else "bold" if each is answers[-1] else ""
        table.add_row(each.name, f"{each.count:,}", rate, f"{each.failed:,}", *quantiles, style=style)
    table.add_row(*_CLAIM, style="dim")
    return table


def _scenarios() -> Table:
    table = Table(
        "scenario", "what happens", "users", "seconds", title="make load SCENARIO=…", title_justify="left"
    )
    for scenario in SCENARIOS.values():
        table.add_row(scenario.name, scenario.about, str(scenario.users), f"{scenario.seconds:.0f}")
    return table


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest.load", description=__doc__)
    parser.add_argument("scenario", nargs="?", choices=SCENARIOS, help="none lists them")
    parser.add_argument("--users", type=_positive, help="how many at most; the scenario says how many when")
    parser.add_argument("--duration", type=_positive, metavar="SECONDS", help="how long they come")
    processes = parser.add_argument("--processes", type=_positive, default=max(2, (os.cpu_count() or 2) // 2))
    processes.help = "how many of Locust's processes share the users (default: %(default)s)"
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: a whole number from 1 on is needed")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
