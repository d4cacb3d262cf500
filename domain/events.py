"""The event log: what happened, appended in the transaction in which it happened, never changed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.ids import EventId, UserId, uuid7
from domain.pages import LONGEST_PAGE, Page, PageRequest


@dataclass(frozen=True, slots=True)
class Event:
    """A fact in the past tense about one subject: `payment.succeeded`, `order.paid`.

    `audience` are the users whom it concerns, sorted. They may be told of it; finance and admin see every event.
    """

    id: EventId
    type: str
    subject_id: UUID
    data: Mapping[str, object]
    created_at: datetime
    audience: tuple[UserId, ...]


class EventLog(Protocol):
    """The append-only table of events."""

    async def append(self, events: Sequence[Event]) -> None:
        """Append events in the caller's transaction."""
        ...

    async def of_subject(
        self, subject_id: UUID, request: PageRequest = LONGEST_PAGE, *, concerning: UserId | None = None
    ) -> Page[Event]:
        """Return a page of a subject's events, oldest first; only those that concern a user, if one is named."""
        ...


def event(kind: str, subject_id: UUID, at: datetime, /, *, audience: Iterable[UserId], **data: object) -> Event:
    """Return a new event for those whom it concerns; UUIDs in the data become text."""
    return Event(
        id=EventId(uuid7()),
        type=kind,
        subject_id=subject_id,
        data={key: str(value) if isinstance(value, UUID) else value for key, value in data.items()},
        created_at=at,
        audience=tuple(sorted(set(audience))),
    )
