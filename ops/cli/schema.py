from typing import Annotated

import typer

from ops.cli.console import output
from ops.cli.environment import running_settings


def migrate(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Only check that the schema is the newest and equals the code's.")
    ] = False,
) -> None:
    """Bring the schema to its newest form, with the owner's MARKETFLOW_MIGRATION_DATABASE_URL.

    Exit with 1 when the schema is not the code's, with 3 when the database is away or refuses.
    """
    from ops import migrate as migrations  # noqa: PLC0415 - Alembic is slow to import, and `--help` needs none

    url = running_settings("migration_database_url").migration_database_url
    if check:
        migrations.check(url)
        output.print("The schema is the newest and equals the code's.")
    else:
        migrations.upgrade(url)
        output.print("The schema is the newest.")
