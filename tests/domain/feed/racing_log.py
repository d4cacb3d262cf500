"""An event log whose transactions are open at the same time, as PostgreSQL's are."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import uuid4

from domain.errors import Unavailable
from domain.events import Event, event
from domain.feed.model import LoggedEvent, Look
from domain.feed.ports import Readers
from domain.ids import UserId
from tests.builders import NOW


@dataclass(eq=False)
class Writer:
    """An open transaction with its id; it takes positions as it appends."""

    log: "RacingLog"
    transaction: int
    appended: list[LoggedEvent] = field(default_factory=list)

    def append(self, *audience: UserId) -> LoggedEvent:
        self.log.sequence += 1
        logged = LoggedEvent(self.log.sequence, an_event(*audience))
        self.appended.append(logged)
        return logged

    def commit(self) -> None:
        self.log.running.remove(self)
        self.log.committed.update({logged.position: logged for logged in self.appended})

    def roll_back(self) -> None:
        self.log.running.remove(self)


class RacingLog:
    """`domain.feed.ports.FeedRepository`, and its own transactions."""

    def __init__(self) -> None:
        self.sequence = 0
        self.committed: dict[int, LoggedEvent] = {}
        self.running: list[Writer] = []
        self.looks = 0
        self.looks_at_the_end = 0
        self.away = False
        self._next_transaction = 1

    def write(self) -> Writer:
        """Begin a transaction."""
        writer = Writer(self, self._take_transaction())
        self.running.append(writer)
        return writer

    def put(self, *audience: UserId) -> LoggedEvent:
        """Commit one event."""
        writer = self.write()
        logged = writer.append(*audience)
        writer.commit()
        return logged

    @property
    def feed(self) -> "RacingLog":
        return self

    @asynccontextmanager
    async def begin(self) -> AsyncIterator["RacingLog"]:
        if self.away:
            raise Unavailable("the database is out of reach")
        yield self

    async def commit(self) -> None:
        """Nothing is written through the feed."""

    async def look(self, after: int, readers: Readers, *, limit: int) -> Look:
        self.looks += 1
        page = [self.committed[position] for position in sorted(self.committed) if position > after][:limit]
        through = after
        for logged in page:
            if logged.position != through + 1:
                break
            through += 1
        return Look(
            events=[logged for logged in page if logged.position <= through and _wanted(logged, readers)],
            through=through,
            next_position=next((logged.position for logged in page if logged.position > through), None),
            last_position=page[-1].position if page else after,
            oldest_running=self._oldest_running(),
            is_full=len(page) == limit,
        )

    async def between(self, after: int, through: int, readers: Readers, *, limit: int) -> Sequence[LoggedEvent]:
        found = [self.committed[position] for position in sorted(self.committed) if after < position <= through]
        return [logged for logged in found if _wanted(logged, readers)][:limit]

    async def last_position(self) -> int:
        self.looks_at_the_end += 1
        return max(self.committed, default=0)

    async def barrier(self) -> int:
        return self._take_transaction()

    async def oldest_running(self) -> int:
        return self._oldest_running()

    def _oldest_running(self) -> int:
        return min((writer.transaction for writer in self.running), default=self._next_transaction)

    def _take_transaction(self) -> int:
        self._next_transaction += 1
        return self._next_transaction - 1


def an_event(*audience: UserId) -> Event:
    return event("test.happened", uuid4(), NOW, audience=audience)


def _wanted(logged: LoggedEvent, readers: Readers) -> bool:
    return readers is None or bool(set(logged.event.audience) & set(readers))
