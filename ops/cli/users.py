import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.console import output
from ops.cli.environment import running_settings
from ops.errors import BadValue, OperatorError
from ops.sessions import Result, with_database

if TYPE_CHECKING:
    from domain.identity.service import IdentityService

app = typer.Typer(help="Create users, of the roles too that cannot register themselves.", no_args_is_help=True)

Email = Annotated[str, typer.Option(help="The address to log in with.")]


@app.command()
def create(email: Email, role: Annotated[str, typer.Option(help="buyer, seller, finance or admin.")]) -> None:
    """Create a user; the password comes from MARKETFLOW_NEW_PASSWORD or is asked for."""
    from domain.identity.model import Role  # noqa: PLC0415 - `--help` needs it not

    if role not in set(Role):
        raise BadValue(f"There is no role {role}; there are {', '.join(Role)}.")
    password = _new_password()
    user = _with_identity(lambda identity: identity.create(email, password, Role(role)))
    output.print(f"{user.role} {user.email} is created: {user.id}", highlight=False)


@app.command()
def password(email: Email) -> None:
    """Give a user another password, as for `create`; all its sessions end."""
    new = _new_password()

    async def replace(identity: "IdentityService") -> None:
        await identity.replace_password(await identity.by_email(email), new)

    _with_identity(replace)
    output.print(f"{email} has another password, and no session any more.", highlight=False)


def _new_password() -> str:
    if given := os.environ.get("MARKETFLOW_NEW_PASSWORD"):
        return given
    try:
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    except typer.Abort:
        raise OperatorError("No password was given, and MARKETFLOW_NEW_PASSWORD is not set.") from None


def _with_identity(errand: "Callable[[IdentityService], Awaitable[Result]]") -> Result:
    from db.credentials import credential_rules  # noqa: PLC0415 - `--help` needs neither Argon2 nor psycopg
    from domain.identity.service import IdentityService  # noqa: PLC0415 - the same

    settings = running_settings("database_url")
    rules = credential_rules(min_password_chars=settings.min_password_chars)
    return with_database(settings, lambda database: errand(IdentityService(database.begin, rules, database.clock)))
