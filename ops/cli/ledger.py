import json
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table

from domain.ledger.model import Balance, Verification
from domain.money import major
from ops.cli.console import output
from ops.cli.environment import running_settings
from ops.sessions import with_database

app = typer.Typer(help="Prove the books.", no_args_is_help=True)


@app.command()
def verify(*, as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """Recompute everything from the entries; exit with 1 when anything is wrong, with 3 when it could not look."""
    from domain.ledger.service import LedgerService  # noqa: PLC0415 - `--help` needs it not

    result = with_database(
        running_settings("database_url"), lambda database: LedgerService(database.begin).verify()
    )
    if as_json:
        output.print_json(json.dumps(_plain(result)))
    else:
        output.print(balance_table(result.totals))
        output.print(f"{result.journals} journals, {result.entries} entries recomputed", highlight=False)
        for fault in result.faults:
            output.print(f"WRONG: {fault.what}: {fault.where}", style="red", highlight=False)
        output.print("The books are right." if not result.faults else "The books are wrong.")
    raise typer.Exit(1 if result.faults else 0)


def balance_table(balances: Sequence[Balance]) -> Table:
    """Return the trial balance as a table with its totals."""
    table = Table("account", "currency", title="trial balance")
    for side in ("debit", "credit"):
        table.add_column(side, justify="right")
    for balance in balances:
        amount = major(abs(balance.balance_minor), balance.currency)
        sides = (amount, "") if balance.balance_minor > 0 else ("", amount)
        table.add_row(balance.account, balance.currency, *sides)
    table.add_section()
    for currency in sorted({balance.currency for balance in balances}):
        amounts = [balance.balance_minor for balance in balances if balance.currency == currency]
        debit, credit = sum(a for a in amounts if a > 0), -sum(a for a in amounts if a < 0)
        table.add_row("total", currency, major(debit, currency), major(credit, currency), style="bold")
    return table


def _plain(result: Verification) -> dict[str, object]:
    return {
        "journals": result.journals,
        "entries": result.entries,
        "balances": [
            {"account": b.account, "currency": b.currency, "balance_minor": b.balance_minor} for b in result.totals
        ],
        "faults": [{"what": fault.what, "where": fault.where} for fault in result.faults],
    }
