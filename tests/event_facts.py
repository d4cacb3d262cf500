"""What clients are told of an event, against what the API's description says of its type."""

from collections.abc import Iterable

from api.webhooks.payloads import DATA_OF
from domain.event_types import EventType
from domain.events import Event


def check_facts(events: Iterable[Event]) -> None:
    """Raise pydantic's ValidationError for an event that lacks a fact, or tells it in another way."""
    for event in events:
        DATA_OF[EventType(event.type)].model_validate(event.data)
