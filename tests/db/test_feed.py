"""The event log is read in order and without gaps, whatever its transactions do."""

import random
from contextlib import AsyncExitStack
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.unit_of_work import Database, UnitOfWork
from domain.events import Event, event
from domain.feed.model import Replay
from domain.feed.replays import Replays
from domain.feed.standstill import Standstill
from domain.feed.tail import Tail
from domain.identity.model import Principal, Role
from domain.ids import UserId
from tests.builders import NOW
from tests.eventually import eventually


class Writer:
    """An open transaction that appends events."""

    def __init__(self, tx: UnitOfWork, end: AsyncExitStack) -> None:
        self._tx = tx
        self._end = end
        self.appended: list[Event] = []

    @classmethod
    async def begin(cls, database: Database) -> "Writer":
        end = AsyncExitStack()
        return cls(await end.enter_async_context(database.begin()), end)

    async def append(self, *audience: UserId) -> Event:
        told = event("test.happened", uuid4(), NOW, audience=audience)
        await self._tx.events.append([told])
        self.appended.append(told)
        return told

    async def commit(self) -> list[Event]:
        await self._tx.commit()
        await self._end.aclose()
        return self.appended

    async def roll_back(self) -> None:
        await self._end.aclose()


@pytest.fixture
def reader() -> UserId:
    return UserId(uuid4())


@pytest.fixture
async def tail(database: Database) -> Tail:
    tail = Tail(database.each, page=7)
    await tail.start()
    return tail


async def read(tail: Tail, *readers: UserId) -> list[Event]:
    """Read until nothing more is there at once."""
    found: list[Event] = []
    is_more = True
    while is_more:
        events, is_more = await tail.read(readers)
        found += [logged.event for logged in events]
    return found


async def read_all(tail: Tail, reader: UserId, count: int) -> list[Event]:
    """Read until so many have come: behind a gap a transaction of the server's own is waited for as well."""
    found: list[Event] = []

    async def have_come() -> bool:
        found.extend(await read(tail, reader))
        return len(found) >= count

    await eventually(have_come)
    return found


async def test_event_that_commits_late_is_read_in_its_place(
    database: Database, tail: Tail, reader: UserId
) -> None:
    first, second = await Writer.begin(database), await Writer.begin(database)
    one, two = await first.append(reader), await second.append(reader)
    await second.commit()
    assert await read(tail, reader) == []

    await first.commit()

    assert await read(tail, reader) == [one, two]


async def test_event_that_is_rolled_back_is_not_waited_for(database: Database, tail: Tail, reader: UserId) -> None:
    doomed, good = await Writer.begin(database), await Writer.begin(database)
    await doomed.append(reader)
    two = await good.append(reader)
    await good.commit()
    assert await read(tail, reader) == []

    await doomed.roll_back()

    assert await read_all(tail, reader, 1) == [two]


async def test_transaction_that_somebody_forgot_is_told_of(
    database: Database, engine: AsyncEngine, reader: UserId
) -> None:
    told: list[float] = []
    tail = Tail(database.each, page=7, standstill=Standstill(told.append))
    await tail.start()
    async with engine.connect() as forgotten:
        await forgotten.execute(text("SELECT pg_current_xact_id()"))  # which any write takes
        doomed, good = await Writer.begin(database), await Writer.begin(database)
        await doomed.append(reader)
        behind = await good.append(reader)
        await doomed.roll_back()
        await good.commit()

        async def has_waited() -> bool:
            return await read(tail, reader) == [] and told[-1] > 0

        assert await eventually(has_waited)

    assert await read_all(tail, reader, 1) == [behind]
    assert told[-1] == 0


async def test_older_transaction_may_take_the_later_position(
    database: Database, tail: Tail, reader: UserId
) -> None:
    older, newer = await Writer.begin(database), await Writer.begin(database)
    first, second = await older.append(reader), await newer.append(reader)
    third = await older.append(reader)
    await older.commit()
    assert await read(tail, reader) == [first]

    await newer.commit()

    assert await read(tail, reader) == [second, third]


async def test_reader_sees_the_own_events_alone(database: Database, tail: Tail, reader: UserId) -> None:
    other, writer = UserId(uuid4()), await Writer.begin(database)
    mine, theirs, ours, nobodys = [await writer.append(*who) for who in ([reader], [other], [other, reader], [])]
    await writer.commit()
    after = tail.position

    assert await read(tail, reader) == [mine, ours]
    replayed = await Replays(database.each, lambda logged: str(logged.event.id).encode()).read(
        [
            Replay(Principal(other, Role.SELLER), after, tail.position),
            Replay(Principal(reader, Role.FINANCE), after, tail.position),
        ]
    )
    ids = [[item.payload.decode() for item in part.items] for part in replayed]  # type: ignore[union-attr]
    assert ids == [[str(e.id) for e in (theirs, ours)], [str(e.id) for e in (mine, theirs, ours, nobodys)]]


@pytest.mark.parametrize("seed", range(8))
async def test_no_event_is_missed_repeated_or_disordered(
    database: Database, tail: Tail, reader: UserId, seed: int
) -> None:
    rng, writers, seen = random.Random(seed), list[Writer](), list[Event]()
    committed: set[UUID] = set()
    for _ in range(60):
        match rng.choice(("begin", "append", "append", "end", "read")):
            case "begin" if len(writers) < 6:
                writers.append(await Writer.begin(database))
            case "append" if writers:
                await rng.choice(writers).append(reader)
            case "end" if writers:
                await _end(rng, writers, committed)
            case "read":
                seen += await read(tail, reader)
    while writers:
        await _end(rng, writers, committed)
    seen += await read_all(tail, reader, len(committed) - len(seen))

    assert {told.id for told in seen} == committed
    assert [told.id for told in seen] == [told.id for told in await _in_order(database, reader)]


async def test_transaction_has_its_id_before_it_takes_a_position(connection: AsyncConnection) -> None:
    """Otherwise a reader could miss a position and not know whom to wait for."""
    given = text("SELECT pg_current_xact_id_if_assigned()")
    assert (await connection.execute(given)).scalar_one() is None

    await connection.execute(
        text(
            "INSERT INTO events (id, type, subject_id, data, created_at)"
            " SELECT id, type, subject_id, data, created_at FROM events WHERE false"
        )
    )

    assert (await connection.execute(given)).scalar_one() is not None


async def _end(rng: random.Random, writers: list[Writer], committed: set[UUID]) -> None:
    writer = writers.pop(rng.randrange(len(writers)))
    if rng.random() < 2 / 3:
        committed |= {told.id for told in await writer.commit()}
    else:
        await writer.roll_back()


async def _in_order(database: Database, reader: UserId) -> list[Event]:
    async with database.each() as tx:
        last = await tx.feed.last_position()
        return [logged.event for logged in await tx.feed.between(0, last, [reader], limit=10_000)]
