import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer
from rich.table import Table

from ops.cli.console import output, told
from ops.cli.environment import running_settings
from ops.sessions import Result, with_database

if TYPE_CHECKING:
    from domain.settlement.model import Quarantined
    from domain.settlement.quarantine import Quarantine

_HELP = "What waits for a person: the database refused it, or late money did not go back."
app = typer.Typer(help=_HELP, no_args_is_help=True)


class Kind(StrEnum):
    """What can be let go here."""

    REFUNDS = "refunds"
    PAYOUTS = "payouts"
    REVERSALS = "reversals"


@app.command("list")
def list_all(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 100,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show what is in quarantine, the longest first, and why; 1 when there is something.

    Charges are sent on with `marketflow payments retry`, events of Stripe with `marketflow stripe replay`.
    """
    found = _with_quarantine(lambda quarantine: quarantine.find(limit=limit))
    if as_json:
        output.print_json(json.dumps([asdict(each) for each in found], default=str))
    else:
        output.print(_table(found) if found else "Nothing is in quarantine.")
    raise typer.Exit(1 if found else 0)


@app.command()
def release(
    kind: Annotated[Kind, typer.Argument(help="What it is.", metavar="KIND")],
    row: Annotated[UUID, typer.Argument(help="Its id.", metavar="ID")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Let a refund, a payout or a reversal go on, once its cause is gone. Nothing is moved twice.

    KIND is refunds, payouts or reversals. Exit with 1 when it is not in quarantine.
    """
    from domain.work import Work  # noqa: PLC0415 - `--help` needs it not

    _with_quarantine(lambda quarantine: quarantine.release(Work(kind), row))
    if as_json:
        output.print_json(json.dumps({"work": str(kind), "id": str(row)}))
    else:
        output.print(f"{row} goes on; the next sweep announces it.", highlight=False)


def _table(found: "Sequence[Quarantined]") -> Table:
    table = Table("work", "id", "status", "since", "why", title="quarantine")
    for each in found:
        since = each.since.isoformat(timespec="seconds")
        table.add_row(each.work, each.id, each.status, since, told(each.reason or ""))
    return table


def _with_quarantine(errand: "Callable[[Quarantine], Awaitable[Result]]") -> Result:
    from domain.settlement.quarantine import Quarantine  # noqa: PLC0415 - `--help` needs it not

    return with_database(
        running_settings("database_url"), lambda database: errand(Quarantine(database.begin, database.clock))
    )
