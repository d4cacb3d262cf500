import importlib
import sys
import traceback
from importlib import metadata
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError

from ops.cli import (
    audit,
    backup,
    breaker,
    deliveries,
    ledger,
    payments,
    quarantine,
    queues,
    schema,
    secrets,
    sellers,
    stack,
    stripe,
    trace,
    users,
)
from ops.cli.console import errors, output
from ops.cli.reconciliation import reconcile
from ops.errors import BAD_VALUE, COULD_NOT_LOOK, OperatorError, explain_settings

app = typer.Typer(
    name="marketflow",
    help="Run and operate MarketFlow, a marketplace's payment backend.",
    epilog="Exit codes: 0 all is well; 1 the answer is no: something was found, or stands otherwise; "
    "2 an argument is wrong, or names nothing; "
    "3 it could not look: a server is away, a setting is missing, it broke off.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(stack.up)
app.command()(stack.down)
app.command()(stack.status)
app.command()(schema.migrate)
app.command()(backup.backup)
app.command()(backup.archive)
app.command()(backup.restore)
app.command()(trace.trace)
app.command()(queues.queues)
app.add_typer(users.app, name="users")
app.add_typer(sellers.app, name="sellers")
app.add_typer(secrets.app, name="secrets")
app.add_typer(ledger.app, name="ledger")
app.add_typer(audit.app, name="audit")
app.add_typer(stripe.app, name="stripe")
app.add_typer(payments.app, name="payments")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(breaker.app, name="breaker")
app.command()(reconcile)


def main() -> None:
    """Run the command line; what a person can answer is a message, not a traceback.

    Python's own code for an error is 1, which is a verdict here: whoever breaks off has none.
    """
    try:
        app()
    except OperatorError as error:
        _fail(str(error), error.exit_code)
    except ValidationError as error:
        _fail(explain_settings(error), COULD_NOT_LOOK)
    except Exception as error:  # noqa: BLE001 - the last who can say how it ends
        if isinstance(error, OSError) and error.filename is not None:
            # A file that the operator named. One without a name is ours to explain.
            _fail(f"{error.filename}: {error.strerror}", BAD_VALUE)
        traceback.print_exc()
        sys.exit(COULD_NOT_LOOK)


def _fail(message: str, exit_code: int) -> NoReturn:
    errors.print(f"marketflow: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(exit_code)


def _show_version(asked: bool) -> None:  # noqa: FBT001 - typer hands the option's value over like this
    if asked:
        output.print(f"marketflow {metadata.version('marketflow')}", highlight=False)
        raise typer.Exit


@app.callback()
def options(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Run and operate MarketFlow, a marketplace's payment backend."""


@app.command()
def demo() -> None:
    """Start a stack unless one runs, take customers through a purchase, show the books, stop what it started."""
    raise typer.Exit(importlib.import_module("ops.demo").run(output))
