"""A server that says nothing any more, without a word of farewell, keeps nobody waiting for long."""

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import ConnectionTimeout

from db.clock import DatabaseClock
from db.connection import Connection
from db.pool import Pool, connect, make_pool
from db.sql import Sql
from db.unit_of_work import Database
from domain.coalescer import Coalescer
from domain.errors import Unavailable
from tests.dead_names import dead_names

BOUND_S = 60.0
"""Long before any timeout of the network's; a machine may be slow."""


class Wire:
    """What leads to the server. Who is connected when it falls silent is not heard any more, and hears nothing."""

    def __init__(self, socket_path: str) -> None:
        self.socket_path = socket_path
        self.port = 0
        self.silent: set[asyncio.Task[None]] = set()
        self._links: set[asyncio.Task[None]] = set()

    def fall_silent(self) -> None:
        self.silent |= self._links

    @property
    def is_used(self) -> bool:
        """Whether somebody is connected who is heard."""
        return bool({link for link in self._links if not link.done()} - self.silent)

    @property
    def open_connections(self) -> int:
        """How many connections there are at the server."""
        return len({link for link in self._links if not link.done()}) // 2

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self.socket_path)
        self._links |= {
            asyncio.create_task(self._forward(reader, back)),
            asyncio.create_task(self._forward(there, writer)),
        }

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                if asyncio.current_task() not in self.silent:
                    writer.write(data)
                    await writer.drain()
        writer.close()


@pytest.fixture
async def wire(database_url: str) -> AsyncIterator[Wire]:
    place = conninfo_to_dict(database_url)
    wire = Wire(f"{place['host']}/.s.PGSQL.{place.get('port', 5432)}")
    async with await asyncio.start_server(wire.take, "127.0.0.1", 0) as server:
        wire.port = server.sockets[0].getsockname()[1]
        yield wire


@pytest.fixture
async def pool(database_url: str, wire: Wire) -> AsyncIterator[Pool]:
    place = conninfo_to_dict(database_url)
    url = (
        f"postgresql://{place['user']}@127.0.0.1:{wire.port}/{place['dbname']}?sslmode=disable&gssencmode=disable"
    )
    pool = make_pool(url, pool_size=3, statement_timeout_s=1, clock=DatabaseClock())
    yield pool
    await pool.close()


@pytest.fixture
def database(pool: Pool) -> Database:
    return Database(pool)


async def ask(database: Database, statement: str = "SELECT 1") -> None:
    async with database.begin() as tx:
        await tx.events._connection.execute(Sql(statement))


async def write(database: Database, wire: Wire) -> None:
    """Lose the server between a statement and its commit."""
    async with database.begin() as tx:
        await tx.events._connection.execute(Sql("SELECT pg_current_xact_id()"))
        wire.fall_silent()
        await tx.commit()


async def give_up(database: Database, wire: Wire) -> None:
    """Lose the server in a transaction that goes no further."""
    async with database.begin() as tx:
        await tx.events._connection.execute(Sql("SELECT 1"))
        wire.fall_silent()
        raise ZeroDivisionError


async def have_idle_connections(database: Database, count: int) -> None:
    await asyncio.gather(*(ask(database, "SELECT pg_sleep(0.2)") for _ in range(count)))


async def test_statement_that_is_not_answered_is_unavailable(database: Database, wire: Wire) -> None:
    await ask(database)
    wire.fall_silent()

    async with asyncio.timeout(BOUND_S):
        with pytest.raises(Unavailable):
            await ask(database)
        await ask(database)


async def test_commit_that_is_not_answered_is_unavailable(database: Database, wire: Wire) -> None:
    async with asyncio.timeout(BOUND_S):
        with pytest.raises(Unavailable):
            await write(database, wire)
        await ask(database)


async def test_transaction_given_up_in_silence_ends(database: Database, wire: Wire) -> None:
    async with asyncio.timeout(BOUND_S):
        with pytest.raises(ZeroDivisionError):
            await give_up(database, wire)
        await ask(database)


async def test_idle_connections_to_the_same_place_keep_nobody_waiting(database: Database, wire: Wire) -> None:
    await have_idle_connections(database, 3)
    wire.fall_silent()
    refusals = 0

    async with asyncio.timeout(BOUND_S):
        while not wire.is_used:
            try:
                await ask(database)
            except Unavailable:
                refusals += 1

    assert refusals == 1


async def test_connections_that_were_lent_in_silence_are_not_kept(
    database: Database, pool: Pool, wire: Wire
) -> None:
    """Who borrowed one waits as well, and gives it back when another has long been hung up on."""
    await have_idle_connections(database, 2)
    wire.fall_silent()

    async with asyncio.timeout(BOUND_S):
        answers = await asyncio.gather(*(ask(database) for _ in range(2)), return_exceptions=True)
        await have_idle_connections(database, 3)

    assert [type(answer) for answer in answers] == [Unavailable, Unavailable]
    assert wire.open_connections == 3


async def test_those_behind_a_silent_batch_are_served(database: Database, wire: Wire) -> None:
    async def flush(items: Sequence[int]) -> Sequence[int]:
        await ask(database)
        return items

    asked: Coalescer[int, int] = Coalescer(flush, max_batch=1)
    assert await asked.submit(0) == 0
    wire.fall_silent()

    async with asyncio.timeout(BOUND_S):
        answers = await asyncio.gather(*(asked.submit(number) for number in range(3)), return_exceptions=True)

    assert isinstance(answers[0], Unavailable)
    assert answers[1:] == [1, 2]


async def test_time_is_not_waited_for_in_silence(database_url: str, wire: Wire, pool: Pool) -> None:
    class Muted(DatabaseClock):
        async def hear(self, connection: Connection) -> None:
            wire.fall_silent()
            await super().hear(connection)

    place = conninfo_to_dict(database_url)
    url = (
        f"postgresql://{place['user']}@127.0.0.1:{wire.port}/{place['dbname']}?sslmode=disable&gssencmode=disable"
    )
    muted = make_pool(url, pool_size=1, statement_timeout_s=1, clock=Muted())

    async with asyncio.timeout(BOUND_S):
        await muted.warm()
        with pytest.raises(Unavailable):
            await ask(Database(muted))
    await muted.close()


async def test_name_that_nobody_answers_for_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("db.pool._ATTEMPTS", 0.01)
    with dead_names(monkeypatch):
        async with asyncio.timeout(BOUND_S):
            with pytest.raises(ConnectionTimeout):
                await connect("postgresql://somebody@dead-db.example/anything", statement_timeout_s=1)


async def test_attempt_to_connect_that_took_too_long_is_over_for_the_server_too() -> None:
    ended = asyncio.Event()

    async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            pass
        ended.set()
        writer.close()

    async with await asyncio.start_server(be_silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        gc.disable()
        try:
            with pytest.raises(ConnectionTimeout):
                await connect(f"postgresql://somebody@127.0.0.1:{port}/anything", statement_timeout_s=1)
            await asyncio.wait_for(ended.wait(), BOUND_S)
        finally:
            gc.enable()
