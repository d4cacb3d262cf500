import os
from typing import Annotated

import typer

from ops.cli.console import output
from ops.cli.environment import running_settings
from ops.errors import OperatorError
from ops.sessions import with_database

app = typer.Typer(help="Create users, of the roles too that cannot register themselves.", no_args_is_help=True)

MIN_PASSWORD_CHARS = 8


@app.command()
def create(
    email: Annotated[str, typer.Option(help="The address to log in with.")],
    role: Annotated[str, typer.Option(help="buyer, seller, finance or admin.")],
) -> None:
    """Create a user; the password comes from MARKETFLOW_NEW_PASSWORD or is asked for."""
    from db.passwords import Argon2Hasher  # noqa: PLC0415 - `--help` needs neither Argon2 nor SQLAlchemy
    from domain.clock import SystemClock  # noqa: PLC0415 - the same
    from domain.identity.model import Role  # noqa: PLC0415 - the same
    from domain.identity.service import IdentityService  # noqa: PLC0415 - the same

    if role not in set(Role):
        raise OperatorError(f"There is no role {role}; there are {', '.join(Role)}.")
    password = os.environ.get("MARKETFLOW_NEW_PASSWORD") or typer.prompt(
        "Password", hide_input=True, confirmation_prompt=True
    )
    if len(password) < MIN_PASSWORD_CHARS:
        raise OperatorError(f"A password has at least {MIN_PASSWORD_CHARS} characters.")
    user = with_database(
        running_settings(),
        lambda database: IdentityService(database.begin, Argon2Hasher(), SystemClock()).create(
            email, password, Role(role)
        ),
    )
    output.print(f"{user.role} {user.email} is created: {user.id}", highlight=False)
