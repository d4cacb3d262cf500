from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ops import backups
from ops.cli.console import output
from ops.cli.environment import missing
from ops.errors import BadValue
from ops.settings import Settings
from ops.stack import postgres
from ops.stack.errors import StackError
from ops.stack.info import read_info
from ops.stack.layout import Layout

_NEXT = (
    "Start the servers alone: workers would pay sellers a second time, whose payouts are younger than this.\n"
    "Go on with step 3 of ops/runbooks/restore.md."
)
_SERVERS = "Here that is: marketflow up --only postgres --only valkey --only stripe"


def backup(directory: Annotated[Path, typer.Argument(help="A new directory for the copy.")]) -> None:
    """Copy the whole database while it runs, and check the copy."""
    backups.back_up(_server(), directory)
    output.print(f"The backup is in {directory}.", highlight=False, soft_wrap=True)


def archive(directory: Annotated[Path, typer.Argument(help="Where the log goes.")]) -> None:
    """Receive the database's log until interrupted, so that any moment after a backup can be restored."""
    backups.archive(_server(), directory)


def restore(
    source: Annotated[Path, typer.Argument(metavar="BACKUP", help="A directory that `backup` made.")],
    *,
    data: Annotated[
        Path | None, typer.Option(help="The new data directory; else that of the stack here, which has none yet.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option(help="A directory that `archive` filled: go on after the backup.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop there: RFC 3339, like 2026-11-25T12:00:00Z.")
    ] = None,
) -> None:
    """Make a data directory from a backup. Only the servers may start on it, no worker, beat or API yet.

    What was paid out after that moment is unknown to it: workers would pay those sellers a second time.
    Go on with step 3 of ops/runbooks/restore.md. Exit with 1 when the backup is damaged or the log has a gap, with
    2 for a moment that is before the backup's end.
    """
    target = data or Layout.of(Settings().var_dir).postgres_data
    backups.restore(source, target, log=log, until=_read_time(until) if until else None)
    output.print(f"{target} is restored.", highlight=False, soft_wrap=True)
    output.print(_NEXT if data else f"{_NEXT}\n{_SERVERS}", highlight=False, soft_wrap=True)


def _server() -> str:
    """Return the address of a role that may copy the whole cluster: the given one, or the stack's superuser."""
    settings = Settings()
    if given := settings.backup_database_url.get_secret_value():
        return given
    layout = Layout.of(settings.var_dir)
    try:
        read_info(layout.info)
    except StackError:
        raise missing("backup_database_url", settings) from None
    return postgres.url(layout, postgres.SUPERUSER)


def _read_time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadValue(f"{text!r} is no moment like 2026-11-25T12:00:00Z.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
