"""The border where database errors become the domain's."""

import traceback
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from psycopg import IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from db.connection import Lender
from db.pool import Pool, make_pool
from db.sql import Sql
from db.unit_of_work import Database
from domain.errors import Refused, Unavailable
from domain.events import event
from tests.builders import NOW, a_stripe_event
from tests.eventually import eventually


@pytest.fixture
async def small(database_url: str) -> AsyncIterator[Pool]:
    """An engine with one connection."""
    pool = make_pool(database_url, pool_size=1, statement_timeout_s=60)
    yield pool
    await pool.close()


@pytest.fixture
async def impatient(database_url: str) -> AsyncIterator[Pool]:
    """An engine with one connection and so little patience that good statements fail too, now and then."""
    pool = make_pool(database_url, pool_size=1, statement_timeout_s=0.2)
    yield pool
    await pool.close()


async def execute(pool: Lender, statement: str) -> None:
    async with Database(pool).begin() as tx:
        await tx.events._connection.execute(Sql(statement))


async def works(pool: Lender) -> bool:
    with suppress(Unavailable):
        await execute(pool, "SELECT 1")
        return True
    return False


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO products SELECT",
        "INSERT INTO stripe_events (id, type, body, status, received_at) VALUES ('', 'x', '', 'received', now())",
        "SELECT 1 / 0",
        "SELECT 99999999999::int",
    ],
)
async def test_broken_rule_is_refused_with_the_databases_words(engine: AsyncEngine, statement: str) -> None:
    with pytest.raises(Refused) as refusal:
        await execute(engine, statement)

    assert refusal.value.message
    assert "\n" not in refusal.value.message
    assert "SELECT" not in refusal.value.message


async def test_refusal_takes_no_row_along_into_a_log(engine: AsyncEngine) -> None:
    secret = uuid4().hex
    values = f"'', 'x', '{secret}', 'received', now()"

    with pytest.raises(Refused) as refusal:
        await execute(engine, f"INSERT INTO stripe_events (id, type, body, status, received_at) VALUES ({values})")

    assert "stripe_events" in refusal.value.message
    assert secret not in "".join(traceback.format_exception(refusal.value))


async def test_programming_error_is_nobodys_fault_but_ours(engine: AsyncEngine) -> None:
    with pytest.raises(ProgrammingError):
        await execute(engine, "SELECT nothing FROM nowhere")


async def test_slow_statement_is_unavailable(impatient: Pool) -> None:
    with pytest.raises(Unavailable) as refusal:
        await execute(impatient, "SELECT pg_sleep(60)")

    assert refusal.value.code == "database_unavailable"
    assert await eventually(lambda: works(impatient))


async def test_pool_without_a_free_connection_is_unavailable(impatient: Pool) -> None:
    assert await eventually(lambda: works(impatient))
    # Outside a transaction, which the server would end soon, since nothing is said in it.
    async with Database(impatient).each():
        with pytest.raises(Unavailable):
            await execute(impatient, "SELECT 1")


async def test_dead_connection_is_unavailable_and_the_next_one_works(small: Pool) -> None:
    with pytest.raises(Unavailable):
        await execute(small, "SELECT pg_terminate_backend(pg_backend_pid())")

    await execute(small, "SELECT 1")


async def test_connection_that_died_while_idle_is_met_by_nobody(engine: AsyncEngine, small: Pool) -> None:
    async with Database(small).begin() as tx:
        pid = (await tx.events._connection.execute(Sql("SELECT pg_backend_pid()"))).scalar_one()
    await execute(engine, f"SELECT pg_terminate_backend({pid}, 5000)")

    await execute(small, "SELECT 1")


async def test_each_statement_is_durable_by_itself(database: Database) -> None:
    kept, refused = a_stripe_event(), replace(a_stripe_event(), type="")
    async with database.each() as tx:
        await tx.stripe_events.add([kept], publish_at=NOW)
        with pytest.raises(IntegrityError):
            await tx.stripe_events.add([refused], publish_at=NOW)

    async with database.begin() as tx:
        assert [event.id for event in await tx.stripe_events.lease([kept.id], NOW, NOW)] == [kept.id]


async def test_connection_of_each_begins_transactions_again(small: Pool) -> None:
    event = a_stripe_event()
    async with Database(small).each():
        pass
    async with Database(small).begin() as tx:
        await tx.stripe_events.add([event], publish_at=NOW)

    async with Database(small).begin() as tx:
        assert await tx.stripe_events.lease([event.id], NOW, NOW) == []


async def test_server_out_of_reach_is_unavailable() -> None:
    nowhere = make_pool("postgresql://nobody@127.0.0.1:1/nothing", pool_size=1, statement_timeout_s=1)

    with pytest.raises(Unavailable):
        await execute(nowhere, "SELECT 1")

    await nowhere.close()


async def test_lock_held_by_another_is_waited_for_a_bounded_time(engine: AsyncEngine, impatient: Pool) -> None:
    event = a_stripe_event()
    async with Database(engine).begin() as holder:
        await holder.stripe_events.add([event], publish_at=NOW)
        with pytest.raises(Unavailable):
            async with Database(impatient).begin() as waiter:
                await waiter.stripe_events.add([event], publish_at=NOW)


async def test_block_that_ends_without_commit_leaves_nothing(database: Database) -> None:
    event = a_stripe_event()
    async with database.begin() as tx:
        await tx.stripe_events.add([event], publish_at=NOW)

    async with database.begin() as tx:
        assert await tx.stripe_events.lease([event.id], NOW, NOW) == []


async def test_subjects_of_committed_events_are_told(engine: AsyncEngine) -> None:
    told: list[UUID] = []
    subjects = [uuid4(), uuid4()]

    async with Database(engine, on_change=told.extend).begin() as tx:
        for subject in subjects:
            await tx.events.append([event("test.happened", subject, NOW, audience=[])])
        assert told == []
        await tx.commit()

    assert told == subjects


async def test_nothing_is_told_of_what_is_not_committed(engine: AsyncEngine) -> None:
    told: list[UUID] = []
    database = Database(engine, on_change=told.extend)

    async with database.begin() as tx:
        await tx.events.append([event("test.happened", uuid4(), NOW, audience=[])])
    async with database.begin() as tx:
        await tx.commit()

    assert told == []


async def test_transaction_that_only_reads_leaves_what_is_prepared(small: Pool) -> None:
    database, often = Database(small), Sql("SELECT 4711 AS often")
    for _ in range(3):
        async with database.each() as tx:
            await tx.events._connection.execute(often)

    async with database.begin() as tx:
        await tx.events._connection.execute(Sql("SELECT 1"))

    prepared = Sql("SELECT statement FROM pg_prepared_statements WHERE statement LIKE '%4711%'")
    async with database.each() as tx:
        assert (await tx.events._connection.execute(prepared)).scalars().all() == ["SELECT 4711 AS often"]
