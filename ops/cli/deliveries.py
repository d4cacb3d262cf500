import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from ops.cli.console import output
from ops.cli.environment import running_settings
from ops.cli.stripe import read_time
from ops.errors import BadValue
from ops.sessions import with_database

if TYPE_CHECKING:
    from domain.identity.model import Principal
    from domain.notifications.redelivery import RedeliveryService
    from domain.work import Work

app = typer.Typer(help="Webhooks to clients.", no_args_is_help=True)


class _Silence:
    """`domain.work.Announcer` for who needs no broker: the next sweep announces."""

    def announce(self, work: "Work", ids: Sequence[UUID | str]) -> None:
        """Leave it to the sweep."""


@app.callback()
def deliveries() -> None:
    """Webhooks to clients."""


@app.command()
def retry(
    delivery: Annotated[UUID | None, typer.Argument(help="A delivery's id.", metavar="[ID]")] = None,
    endpoint: Annotated[UUID | None, typer.Option(help="A webhook endpoint, with --since or --event.")] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="Its events from a time (ISO 8601, UTC if it does not say), or from so long ago: 2h, 3d."
        ),
    ] = None,
    until: Annotated[str | None, typer.Option(help="The same; now if not given.")] = None,
    event: Annotated[list[UUID] | None, typer.Option(help="An event; may be given several times.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="With --since: what was delivered too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Send webhooks again: one delivery, or what an endpoint missed or did not take.

    Safe to repeat: a receiver knows by `webhook-id` what it had. A disabled endpoint must be activated first: 1.
    """
    is_span, is_named = since is not None, bool(event)
    if delivery is not None and not (endpoint or is_span or is_named or until or everything):
        told = _with_redeliveries(lambda service, me: _retry(service, me, delivery))
    elif delivery is None and endpoint is not None and is_named and not (is_span or until or everything):
        told = _with_redeliveries(lambda service, me: _send_events(service, me, endpoint, event or []))
    elif delivery is None and endpoint is not None and is_span and not is_named:
        span = _read_span(since or "", until)
        told = _with_redeliveries(
            lambda service, me: _send_span(service, me, endpoint, span, everything=everything)
        )
    else:
        raise BadValue("Give a delivery's ID, or --endpoint with --event or with --since [--until] [--all].")
    if as_json:
        output.print_json(json.dumps(told))
    else:
        output.print(f"due now, and announced by the next sweep: {told['scheduled']}", highlight=False)


def _read_span(since: str, until: str | None) -> tuple[datetime, datetime]:
    now = datetime.now(UTC)
    span = read_time(since, now), read_time(until, now) if until else now
    if span[0] >= span[1]:
        raise BadValue("The span ends before it begins.")
    return span


async def _retry(service: "RedeliveryService", me: "Principal", delivery: UUID) -> dict[str, Any]:
    from domain.ids import DeliveryId  # noqa: PLC0415 - `--help` needs it not

    again = await service.retry(me, DeliveryId(delivery))
    return {
        "scheduled": 1,
        "id": str(again.id),
        "endpoint_id": str(again.endpoint_id),
        "event_id": str(again.event_id),
        "event_type": again.event_type,
        "status": str(again.status),
        "attempts": again.attempts,
    }


async def _send_events(
    service: "RedeliveryService", me: "Principal", endpoint: UUID, events: list[UUID]
) -> dict[str, Any]:
    from domain.ids import EventId, WebhookEndpointId  # noqa: PLC0415 - `--help` needs it not

    asked = await service.send_events(me, WebhookEndpointId(endpoint), [EventId(each) for each in events])
    return {"scheduled": asked.scheduled, "endpoint_id": str(endpoint)}


async def _send_span(
    service: "RedeliveryService",
    me: "Principal",
    endpoint: UUID,
    span: tuple[datetime, datetime],
    *,
    everything: bool,
) -> dict[str, Any]:
    """Send a whole span again; the service takes a bounded part of it at a time."""
    from domain.ids import WebhookEndpointId  # noqa: PLC0415 - `--help` needs it not

    key, (begin, end) = WebhookEndpointId(endpoint), span
    asked = await service.send_span(me, key, begin, end, only_failed=not everything)
    scheduled = asked.scheduled
    while asked.next_after is not None:
        asked = await service.send_span(me, key, begin, end, only_failed=not everything, after=asked.next_after)
        scheduled += asked.scheduled
    told = {"scheduled": scheduled, "endpoint_id": str(endpoint)}
    return {**told, "since": begin.isoformat(), "until": end.isoformat()}


def _with_redeliveries(
    errand: Callable[["RedeliveryService", "Principal"], Awaitable[dict[str, Any]]],
) -> dict[str, Any]:
    from domain.identity.model import Principal, Role  # noqa: PLC0415 - `--help` needs it not
    from domain.ids import UserId  # noqa: PLC0415 - the same
    from domain.notifications.redelivery import RedeliveryService  # noqa: PLC0415 - the same

    operator = Principal(UserId(UUID(int=0)), Role.ADMIN)
    return with_database(
        running_settings("database_url"),
        lambda database: errand(RedeliveryService(database.begin, _Silence(), database.clock), operator),
    )
