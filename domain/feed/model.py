"""The event log as a stream: where an event stands in it, and what one look at it shows."""

from collections.abc import Sequence
from dataclasses import dataclass

from domain.events import Event
from domain.identity.model import Principal


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event at its place. Positions grow in the order in which a subject's events happened."""

    position: int
    event: Event

    def concerns(self, principal: Principal) -> bool:
        """Tell whether a user may be told of it."""
        return principal.sees_all or principal.user_id in self.event.audience


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the log after a position shows.

    No position up to `through` is missing, and `events` are those up to there that somebody asked for.
    `next_position` is the first one behind a missing one, if there is any, and `last_position` the last that was
    looked at. The transactions older than `oldest_running` had ended before the look.
    """

    events: Sequence[LoggedEvent]
    through: int
    next_position: int | None
    last_position: int
    oldest_running: int
    is_full: bool


@dataclass(frozen=True, slots=True)
class Replay:
    """What a principal asks for again: its events after one position up to another, both final."""

    principal: Principal
    after: int
    through: int


@dataclass(frozen=True, slots=True)
class Item:
    """An event as it is sent."""

    position: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Replayed:
    """A part of what was asked for again: everything up to `through`."""

    items: Sequence[Item]
    through: int
