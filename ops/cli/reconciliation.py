import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from domain.money import major
from ops.cli.console import output
from ops.cli.environment import running_settings
from ops.cli.stripe import read_time
from ops.errors import COULD_NOT_LOOK, OperatorError
from ops.sessions import with_database

if TYPE_CHECKING:
    from db.unit_of_work import Database
    from domain.reconciliation.model import Report

_LOOK_S = 0.5
_PATIENCE_S = 120.0
"""After so long without progress nobody seems to work; the run stays due."""


def reconcile(
    begin: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="A time (ISO 8601, UTC if it does not say) or how long ago: 36h, 3d. A day before the end if not "
            "given.",
        ),
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="The same; now if not given.")] = None,
    *,
    wait: Annotated[bool, typer.Option(help="Wait until the workers have reconciled.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result for programs.")] = False,
) -> None:
    """Compare the ledger with Stripe for a period; 1 when exceptions are open or the books do not tie.

    The workers do it, a page at a time, and mend what Stripe's own record proves. 3 when it did not come to an
    end: nobody knows.
    """
    for given in filter(None, (begin, end)):
        read_time(given, datetime.now(UTC))  # what is no time is refused at once, whatever else is away
    report = with_database(
        running_settings("database_url"), lambda database: _run(database, begin, end, wait=wait)
    )
    if as_json:
        output.print_json(json.dumps(_plain(report)))
    else:
        output.print(f"reconciliation {report.run.id}: {report.run.status}", highlight=False)
        for table in _tables(report):
            output.print(table)
    if report.statement is None:
        raise typer.Exit(COULD_NOT_LOOK if wait else 0)
    is_clean = report.statement.ties and not any(each.status == "open" for each in report.counts)
    raise typer.Exit(0 if is_clean else 1)


async def _run(database: "Database", begin: str | None, end: str | None, *, wait: bool) -> "Report":
    """Order a reconciliation, by the clock that the order is judged by, and wait until it has ended."""
    from domain.reconciliation.desk import ReconciliationDesk  # noqa: PLC0415 - `--help` needs it not

    desk, now = ReconciliationDesk(database.begin, database.clock), database.clock.now()
    from_at, to_at = (read_time(given, now) if given else None for given in (begin, end))
    run = await desk.order(from_at, to_at, requested_by=None)
    report, moved_at, before = await desk.read(run.id), time.monotonic(), await _progress(database)
    while wait and report.statement is None:
        await asyncio.sleep(_LOOK_S)
        report, standing = await desk.read(run.id), await _progress(database)
        if standing != before:
            before, moved_at = standing, time.monotonic()
        if time.monotonic() - moved_at > _PATIENCE_S:
            raise OperatorError(f"Nobody works at reconciliation {run.id}: are the workers running?")
    return report


async def _progress(database: "Database") -> Sequence[object]:
    """Return where all stand that have not ended: those that were asked for before go first, one at a time."""
    from domain.pages import LONGEST_PAGE  # noqa: PLC0415 - `--help` needs it not

    async with database.begin() as tx:
        page = await tx.reconciliations.page(LONGEST_PAGE)
    return [(run.id, run.step, run.cursor) for run in page.rows if run.finished_at is None]


def _tables(report: "Report") -> list[Table]:
    totals = Table("category", "currency", title="totals, fees taken")
    for side in ("lines", "Stripe", "ledger", "difference"):
        totals.add_column(side, justify="right")
    statement = report.statement
    for total in statement.totals if statement else ():
        stripe, ledger = (
            total.stripe_minor - total.stripe_fee_minor,
            total.ledger_minor - total.ledger_fee_minor,
        )
        amounts = [major(minor, total.currency) for minor in (stripe, ledger, total.difference_minor)]
        totals.add_row(total.category, total.currency, str(total.lines), *amounts)
    balances = Table("balance", "currency", title="balances")
    for side in ("Stripe", "ledger", "in transit", "exceptions", "unexplained"):
        balances.add_column(side, justify="right")
    for each in statement.balances if statement else ():
        for name, at in (("opening", each.opening), ("closing", each.closing)):
            figures = (
                at.stripe_minor,
                at.ledger_minor,
                at.in_transit_minor,
                at.exceptions_minor,
                at.unexplained_minor,
            )
            balances.add_row(name, each.currency, *(major(minor, each.currency) for minor in figures))
    found = Table("exception", "status", "number", title="exceptions")
    for count in report.counts:
        found.add_row(count.kind, count.status, str(count.count))
    return [totals, balances, found]


def _plain(report: "Report") -> Mapping[str, Any]:
    statement = report.statement
    return {
        "id": str(report.run.id),
        "status": report.run.status,
        "from": report.run.from_at.isoformat(),
        "to": report.run.to_at.isoformat(),
        "lines": report.run.lines,
        "ties": statement.ties if statement else None,
        "exceptions": [
            {"kind": count.kind, "status": count.status, "count": count.count} for count in report.counts
        ],
    }
