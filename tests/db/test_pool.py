"""Connections are lent to one at a time, wait for nobody for ever, and are closed when they may be in use."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial

import psycopg
import pytest

from db.connection import Driver
from db.pool import Pool, connect


class Server:
    """Makes connections, or fails to; remembers which."""

    def __init__(self, url: str) -> None:
        self._connect = partial(connect, url, statement_timeout_s=60)
        self.made: list[Driver] = []
        self.is_away = False

    async def connect(self) -> Driver:
        if self.is_away:
            raise psycopg.OperationalError("nobody listens")
        self.made.append(await self._connect())
        return self.made[-1]


@pytest.fixture
def server(database_url: str) -> Server:
    return Server(database_url)


@pytest.fixture
async def pool(server: Server) -> AsyncIterator[Pool]:
    """A pool of one connection."""
    pool = Pool(server.connect, size=1, timeout_s=60, patience_s=60)
    yield pool
    await pool.close()


async def test_one_connection_serves_one_after_the_other(pool: Pool, server: Server) -> None:
    for _ in range(3):
        await pool.take_back(await pool.lend())

    assert len(server.made) == 1


async def test_who_waits_is_served_in_the_order_of_coming(pool: Pool) -> None:
    served: list[int] = []

    async def use(number: int) -> None:
        driver = await pool.lend()
        served.append(number)
        await pool.take_back(driver)

    driver = await pool.lend()
    waiting = [asyncio.create_task(use(number)) for number in range(3)]
    await asyncio.sleep(0)
    assert served == []
    await pool.take_back(driver)
    await asyncio.gather(*waiting)

    assert served == [0, 1, 2]


async def test_who_gives_up_waiting_takes_no_place(pool: Pool) -> None:
    driver = await pool.lend()
    waiting = [asyncio.create_task(pool.lend()) for _ in range(3)]
    await asyncio.sleep(0)
    # One before there is a connection for it, one in the moment in which there is.
    waiting[0].cancel()
    await pool.take_back(driver)
    waiting[1].cancel()
    for gone in waiting[:2]:
        with suppress(asyncio.CancelledError):
            await pool.take_back(await gone)

    await pool.take_back(await waiting[2])
    await pool.take_back(await pool.lend())


async def test_waiting_ends(server: Server) -> None:
    pool = Pool(server.connect, size=1, timeout_s=0.05, patience_s=60)
    driver = await pool.lend()

    with pytest.raises(psycopg.OperationalError, match="no connection came back in time"):
        await pool.lend()

    await pool.take_back(driver)
    await pool.take_back(await pool.lend())
    await pool.close()


async def test_server_that_is_away_is_asked_again_by_the_next(pool: Pool, server: Server) -> None:
    server.is_away = True
    for _ in range(2):
        with pytest.raises(psycopg.OperationalError, match="nobody listens"):
            await pool.lend()

    server.is_away = False
    await pool.take_back(await pool.lend())


@pytest.mark.parametrize("statement", [b"SELECT 1", b"nonsense"])
async def test_connection_that_comes_back_within_a_transaction_is_closed(
    pool: Pool, server: Server, statement: bytes
) -> None:
    driver = await pool.lend()
    with suppress(psycopg.ProgrammingError):
        await driver.execute(statement)
    await pool.take_back(driver)

    await pool.take_back(await pool.lend())

    assert [made.closed for made in server.made] == [True, False]


async def test_old_connection_is_made_anew(server: Server) -> None:
    pool = Pool(server.connect, size=1, timeout_s=60, patience_s=60, lifetime_s=0)

    for _ in range(2):
        await pool.take_back(await pool.lend())

    assert [made.closed for made in server.made] == [True, True]


async def test_closed_pool_keeps_nothing_that_comes_back(pool: Pool, server: Server) -> None:
    driver = await pool.lend()

    await pool.close()
    assert not driver.closed
    await pool.take_back(driver)

    assert [made.closed for made in server.made] == [True]
