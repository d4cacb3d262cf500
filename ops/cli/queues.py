import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ops.cli.console import errors, output
from ops.cli.environment import running_settings
from ops.errors import COULD_NOT_LOOK
from ops.sessions import with_database

if TYPE_CHECKING:
    from db.unit_of_work import Database
    from ops.settings import Settings


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue in both places: rows that are due, and messages that say so; None where nobody can say.

    `quarantined` rows wait for a person instead.
    """

    name: str
    due: int | None
    oldest_age_s: float | None
    messages: int | None
    quarantined: int | None


def queues(*, as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """Show how much work is due, for how long the oldest of it, and how many messages the broker holds.

    The rows are the truth. Rows without messages are announced by the next sweep; messages without rows do
    nothing. Exit with 3 when the broker does not answer.
    """
    settings = running_settings("database_url")
    found = with_database(settings, lambda database: _read(settings, database))
    if as_json:
        output.print_json(json.dumps([asdict(queue) for queue in found]))
    else:
        output.print(_table(found))
    if any(queue.messages is None for queue in found):
        errors.print("The broker does not answer, or MARKETFLOW_BROKER_URL is not set.", style="red")
        raise typer.Exit(COULD_NOT_LOOK)


async def _read(settings: "Settings", database: "Database") -> list[Queue]:
    from db.broker import QUEUES  # noqa: PLC0415 - `--help` needs no kombu
    from domain.settlement.backlogs import BacklogService  # noqa: PLC0415 - the same

    now = database.clock.now()
    backlogs = {str(b.work): b for b in await BacklogService(database.begin).read(now)}
    messages = await _messages(settings)
    found = []
    for name in QUEUES:
        backlog = backlogs.get(name)
        age_s = _age_s(backlog.oldest_at if backlog else None, now)
        due, quarantined = (backlog.due, backlog.quarantined) if backlog else (None, None)
        found.append(Queue(name, due, age_s, messages.get(name), quarantined))
    return found


async def _messages(settings: "Settings") -> Mapping[str, int]:
    """Return how many messages wait in each queue; none where the broker does not answer."""
    from db.broker import QUEUES, CeleryQueue  # noqa: PLC0415 - `--help` needs no kombu
    from domain.errors import Unavailable  # noqa: PLC0415 - the same

    if not settings.broker_url:
        return {}
    queue = CeleryQueue(settings.broker_url, socket_timeout_s=settings.broker_timeout_s)
    try:
        return {name: await queue.depth_of(name) for name in QUEUES}
    except Unavailable:
        return {}
    finally:
        queue.close()


def _age_s(since: datetime | None, now: datetime) -> float | None:
    return None if since is None else round((now - since).total_seconds(), 3)


def _table(found: list[Queue]) -> Table:
    table = Table("queue", title="work that waits")
    for title in ("rows due", "oldest", "messages", "quarantined"):
        table.add_column(title, justify="right")
    for queue in found:
        age = "" if queue.oldest_age_s is None else f"{queue.oldest_age_s:.1f} s"
        table.add_row(
            queue.name, _shown(queue.due), age, _shown(queue.messages), _shown(queue.quarantined or None)
        )
    return table


def _shown(number: int | None) -> str:
    return "" if number is None else str(number)
