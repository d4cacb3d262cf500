"""What the stream of events needs from outside."""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from domain.feed.model import LoggedEvent, Look
from domain.ids import UserId
from domain.transactions import Transaction

Readers = Collection[UserId] | None
"""The users whose events are asked for; None asks for all events."""


class FeedRepository(Protocol):
    """The event log, read by position."""

    async def look(self, after: int, readers: Readers, *, limit: int) -> Look:
        """Look at the first `limit` events after a position, whoever they concern, in one snapshot."""
        ...

    async def between(self, after: int, through: int, readers: Readers, *, limit: int) -> Sequence[LoggedEvent]:
        """Return the first `limit` of the readers' events after one position up to another, in order."""
        ...

    async def last_position(self) -> int:
        """Return the position of the last event that is committed; 0 without any."""
        ...

    async def barrier(self) -> int:
        """Return a transaction id that is greater than that of every transaction that appended events so far."""
        ...

    async def oldest_running(self) -> int:
        """Return the transaction id below which every transaction has ended."""
        ...


class FeedTransaction(Transaction, Protocol):
    """The repositories of this context."""

    @property
    def feed(self) -> FeedRepository:
        """The event log, read by position."""
        ...


class Watch(Protocol):
    """One who waits for changes."""

    def wake(self) -> None:
        """Say that there may be a change."""
        ...

    async def changed(self, timeout_s: float) -> bool:
        """Wait for a change since the last time; return False when the time is over without one."""
        ...


class Changes(Protocol):
    """Brings word of changes, while it is live."""

    @property
    def is_live(self) -> bool:
        """Whether word comes at all."""
        ...

    def watch(self) -> AbstractContextManager[Watch]:
        """Hear of every change of anything until the end of the block."""
        ...
