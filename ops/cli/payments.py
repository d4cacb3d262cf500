import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer
from rich.table import Table

from ops.cli.console import output, told
from ops.cli.environment import running_settings
from ops.sessions import Result, with_database

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from domain.settlement.model import StuckPayment
    from domain.settlement.stuck import StuckPayments

app = typer.Typer(help="Payments that do not get on by themselves.", no_args_is_help=True)

MAX_SHOWN = 1000
_PATIENCE_S = 60.0
"""Longer than a row is left alone while everything works."""


@app.command()
def stuck(
    limit: Annotated[int, typer.Option(min=1, max=MAX_SHOWN, help="How many at most.")] = 100,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show payments that do not get on, the longest first, and why.

    quarantined: the database refuses the outcome, a person must look. lease_overdue: a worker did not come back.
    unknown: nobody knows what Stripe did, it is looked up. overdue: due for more than a minute and not taken.
    """
    found = _with_stuck(lambda payments: payments.find(limit=limit))
    if as_json:
        output.print_json(json.dumps([asdict(payment) for payment in found], default=str))
    else:
        output.print(_table(found) if found else "No payment is stuck.")


@app.command()
def retry(
    payment: Annotated[UUID, typer.Argument(help="The payment's id.", metavar="ID")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Make a payment due now, out of quarantine if it is in it. Safe to repeat: nothing is charged twice.

    Exit with 1 when nothing is left to do for it, or a worker is at it.
    """
    from domain.ids import PaymentId  # noqa: PLC0415 - `--help` needs it not

    status = _with_stuck(lambda payments: payments.retry(PaymentId(payment)))
    if as_json:
        output.print_json(json.dumps({"id": str(payment), "status": str(status)}))
    else:
        output.print(f"{payment} ({status}) is due now; the next sweep announces it.", highlight=False)


def _table(found: "Sequence[StuckPayment]") -> Table:
    table = Table(
        "payment", "status", "why", "since", "attempts", "what the database said", title="stuck payments"
    )
    for payment in found:
        since = payment.since.isoformat(timespec="seconds")
        table.add_row(
            str(payment.id),
            payment.status,
            payment.reason,
            since,
            str(payment.attempts),
            told(payment.detail or ""),
        )
    return table


def _with_stuck(errand: "Callable[[StuckPayments], Awaitable[Result]]") -> Result:
    from domain.settlement.stuck import StuckPayments  # noqa: PLC0415 - `--help` needs it not

    return with_database(
        running_settings("database_url"),
        lambda database: errand(StuckPayments(database.begin, database.clock, patience_s=_PATIENCE_S)),
    )
