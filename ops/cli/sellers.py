from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from ops.cli.console import output
from ops.cli.environment import running_settings
from ops.errors import BadValue
from ops.sessions import with_database

if TYPE_CHECKING:
    from db.unit_of_work import Database

app = typer.Typer(help="What is agreed with sellers.", no_args_is_help=True)

_DEFAULT = "default"


@app.command()
def commission(
    seller: Annotated[UUID, typer.Argument(metavar="ID", help="The seller's id.")],
    bps: Annotated[str, typer.Argument(metavar="BPS", help=f"Hundredths of a percent, or `{_DEFAULT}`.")],
) -> None:
    """Set a seller's commission, for payments and orders from now on; MARKETFLOW_COMMISSION_BPS is the default."""
    if bps != _DEFAULT and not bps.isdecimal():
        raise BadValue(f"A commission is a whole number of basis points, or `{_DEFAULT}`.")
    with_database(running_settings("database_url"), _setting(seller, None if bps == _DEFAULT else int(bps)))
    rate = "the default commission" if bps == _DEFAULT else f"a commission of {bps} basis points"
    output.print(f"{seller} has {rate} from now on.", highlight=False)


def _setting(seller: UUID, commission_bps: int | None) -> "Callable[[Database], Awaitable[None]]":
    from domain.ids import UserId  # noqa: PLC0415 - `--help` needs it not
    from domain.sellers.commissions import CommissionService  # noqa: PLC0415 - the same

    return lambda database: CommissionService(database.begin, database.clock).set(UserId(seller), commission_bps)
