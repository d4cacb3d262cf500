import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.table import Table

from ops.cli.console import errors, output
from ops.cli.environment import running_environment, running_settings
from ops.errors import BadValue, OperatorError

app = typer.Typer(help="What Stripe told, and should have told.", no_args_is_help=True)

_AGO = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_TYPE = re.compile(r"[a-z0-9_.]{1,254}\*?|\*")
_LISTED_DAYS = 30
"""How far back Stripe lists its events (docs.stripe.com/api/events)."""


@app.command()
def replay(
    since: Annotated[
        str, typer.Option(help="A time (ISO 8601, UTC if it does not say) or how long ago: 90m, 2h, 3d.")
    ],
    until: Annotated[str | None, typer.Option(help="The same; now if not given.")] = None,
    kind: Annotated[str | None, typer.Option("--type", help="One type of events, or several: charge.*")] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait until the workers have processed all.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary for programs.")] = False,
) -> None:
    """Process Stripe's events again, and fetch those whose webhooks never came; 1 when something is left.

    What is stored is processed again by the workers, beside what comes meanwhile. Repeating is safe: what was
    settled before is no news. Stripe lists the platform's own events of the last 30 days. 3 when it or a server of
    ours does not answer.
    """
    now = datetime.now(UTC)
    begin, end = read_time(since, now), read_time(until, now) if until else now
    if begin >= end:
        raise BadValue("The span ends before it begins.")
    if kind is not None and _TYPE.fullmatch(kind) is None:
        raise BadValue(f"{kind} is no type of events, such as charge.updated or charge.*.")
    if now - begin > timedelta(days=_LISTED_DAYS):
        errors.print(f"Stripe lists the events of {_LISTED_DAYS} days; older ones are those stored here.")
    arguments = ["--since", begin.isoformat(), "--until", end.isoformat()]
    arguments += ["--type", kind] if kind else []
    arguments += ["--dry-run"] if dry_run else []
    arguments += [] if wait else ["--no-wait"]
    summary: dict[str, Any] = {
        "since": begin.isoformat(),
        "until": end.isoformat(),
        "type": kind,
        "dry_run": dry_run,
    }
    running_settings("database_url", "redis_url", "broker_url")
    code = 0
    for facts in _progress(arguments):
        code = facts.pop("exit_code", code)
        summary |= facts
        if facts and "error" not in facts:
            errors.print(_sentence(facts), highlight=False, markup=False)
    if code and ("error" in summary or "left" not in summary):
        raise OperatorError(str(summary.get("error", "The replay broke off.")))
    if summary.get("left") and wait:
        errors.print("They wait: are the workers running?")
    if as_json:
        output.print_json(json.dumps(summary))
    else:
        output.print(f"from {begin:%F %T} to {end:%F %T} UTC", _table(summary), sep="\n", highlight=False)
    raise typer.Exit(code)


def read_time(text: str, now: datetime) -> datetime:
    """Return the time that a person means: a moment, UTC if it does not say, or how long ago."""
    if ago := _AGO.fullmatch(text):
        try:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        except OverflowError:
            raise BadValue(f"{text} is before the first year.") from None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise BadValue(f"{text} is neither a time (2026-11-25T20:00) nor how long ago (2h).") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _progress(arguments: list[str]) -> Iterator[dict[str, Any]]:
    """Run the program of the workers that replays; yield what it tells, and at last its exit code."""
    command = [sys.executable, "-m", "workers.stripe_replay", *arguments]
    # Our own program, and every argument is checked above.
    with subprocess.Popen(command, env=running_environment(), stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        for line in process.stdout:
            yield json.loads(line)
    yield {"exit_code": process.returncode}


def _sentence(facts: dict[str, Any]) -> str:
    return ", ".join(f"{_WORDS.get(name, name)}: {value}" for name, value in facts.items() if name != "results")


_WORDS = {
    "listed": "listed by Stripe",
    "missing": "never received",
    "again": "to be processed again",
    "left": "waiting",
}


def _table(summary: dict[str, Any]) -> Table:
    table = Table("events", "number")
    counted = {_WORDS[name]: summary[name] for name in _WORDS if name in summary}
    for name, number in (counted | summary.get("results", {})).items():
        table.add_row(name, str(number))
    return table
