from typing import Annotated

import typer

from ops.cli.console import output
from ops.errors import OperatorError
from ops.settings import Settings


def migrate(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Only check that the schema is the newest and equals the code's.")
    ] = False,
) -> None:
    """Bring the schema to its newest form, with the owner's MARKETFLOW_MIGRATION_DATABASE_URL."""
    from ops import migrate as migrations  # noqa: PLC0415 - Alembic is slow to import, and `--help` needs none

    url = Settings().migration_database_url
    if not url:
        raise OperatorError("MARKETFLOW_MIGRATION_DATABASE_URL is not set (the owner of the tables).")
    if check:
        migrations.check(url)
        output.print("The schema is the newest and equals the code's.")
    else:
        migrations.upgrade(url)
        output.print("The schema is the newest.")
