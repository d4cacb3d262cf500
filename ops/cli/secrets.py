from typing import TYPE_CHECKING

import typer

from ops.cli.console import errors, output
from ops.cli.environment import running_settings
from ops.errors import OperatorError
from ops.sessions import with_database

if TYPE_CHECKING:
    from db.unit_of_work import Database
    from domain.notifications.resealing import Resealed

app = typer.Typer(help="The secrets in the database.", no_args_is_help=True)


@app.callback()
def _several() -> None:
    """Keep `reseal` a command of its own: typer makes a group's only command the group."""


@app.command()
def reseal() -> None:
    """Encrypt all secrets with the first of MARKETFLOW_ENCRYPTION_KEYS; 1 when no key opens some of them.

    Put a new key first and restart all processes; then run this, and drop the old key. Safe to repeat.
    """
    from db.secret_box import FernetBox  # noqa: PLC0415 - `--help` needs it not
    from domain.notifications.resealing import reseal as reseal_all  # noqa: PLC0415 - the same

    settings = running_settings("encryption_keys", "database_url")
    try:
        box = FernetBox(settings.encryption_key_list)
    except ValueError as error:
        raise OperatorError(str(error)) from None

    async def errand(database: "Database") -> "Resealed":
        return await reseal_all(database.begin, box)

    done = with_database(settings, errand)
    output.print(f"{done.resealed} of {done.looked_at} webhook endpoints are sealed anew.", highlight=False)
    for endpoint_id in done.unreadable:
        errors.print(
            f"No key opens the secret of webhook endpoint {endpoint_id}.", highlight=False, soft_wrap=True
        )
    if done.unreadable:
        raise typer.Exit(1)
