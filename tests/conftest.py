"""What all tests share: one embedded PostgreSQL a session, and two ways to begin transactions on it.

`begin` rolls everything back after the test. `database` commits for real, over as many connections as a test
wants; such tests use ids of their own and leave their rows behind.
"""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import hypothesis
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncTransaction
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from db.connection import Connection
from db.unit_of_work import Database, UnitOfWork, translated_errors
from ops.stack import Stack, postgres
from tests.engines import as_product_sees, make_sql_engine
from tests.rabbitmq import RabbitNode, require_rabbitmq

hypothesis.settings.register_profile("marketflow", deadline=None, max_examples=100, derandomize=True)
hypothesis.settings.load_profile("marketflow")


def pytest_configure(config: pytest.Config) -> None:
    """Give each run a directory of its own.

    In the shared one that pytest keeps for a user, the start of another run takes away the right to pass
    through, which PostgreSQL needs where it runs as a user of its own.
    """
    if config.option.basetemp is None:
        config.option.basetemp = str(Path(tempfile.mkdtemp(prefix="marketflow-tests-")) / "run")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Leave the directory, and the logs in it, only where something failed; measure nothing from here on.

    Python 3.11 never returns from a traced function that begins inside a pending call while another one waits. At
    the end the threads of all tests are collected, greenlets and all, and coverage hears of it by such a call.
    """
    sys.settrace(None)
    directory = Path(session.config.option.basetemp).parent
    if exitstatus == pytest.ExitCode.OK and directory.name.startswith("marketflow-tests-"):
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def unmeasured() -> Iterator[None]:
    """Start processes without coverage, at the speed of production; other tests cover all that they do."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("COVERAGE_PROCESS_")]:
            patch.delenv(name)
        yield


class Groups(LoadScopeScheduling):
    """Keeps tests in one process that share servers, since each process starts its own.

    A file stays whole, and so do the end-to-end tests on their one stack. pytest-xdist's own `loadgroup` does not
    reach the schedule with this pytest: it writes the group where a test's id is not read any more.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "tests/e2e" if Path(file).parent == Path("tests/e2e") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups:
    """Schedule by what is shared."""
    return Groups(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several processes run the tests, begin with the longest."""
    if hasattr(config, "workerinput"):
        tests = Path(__file__).parent
        items.sort(key=lambda item: item.path.parent not in {tests / "e2e", tests / "faults"})


Begin = Callable[[], AbstractAsyncContextManager[UnitOfWork]]


@pytest.fixture(scope="session")
def postgres_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A migrated PostgreSQL; addresses in the environment around the tests do not replace it."""
    directory: Path = tmp_path_factory.mktemp("postgres") / "var"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DATABASE_URL", "MIGRATION_DATABASE_URL"):
            patch.delenv(f"MARKETFLOW_{name}", raising=False)
        stack = Stack(directory, programs={"postgres"})
    with stack:
        yield stack


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A Valkey of the tests' own; addresses in the environment do not replace it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("REDIS_URL", "BROKER_URL"):
            patch.delenv(f"MARKETFLOW_{name}", raising=False)
        with Stack(tmp_path_factory.mktemp("valkey") / "var", programs={"valkey"}) as stack:
            yield stack


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    """A RabbitMQ node of the tests' own; skips where none is installed, except in CI."""
    require_rabbitmq()
    node = RabbitNode(tmp_path_factory.mktemp("rabbitmq") / "node")
    try:
        node.ensure_started()
        yield node
    finally:
        node.close()


@pytest.fixture(scope="session")
def database_url(postgres_stack: Stack) -> str:
    """The address for the application's role, which owns nothing."""
    return postgres_stack.info.database_url


@pytest.fixture(scope="session")
def owner_url(postgres_stack: Stack) -> str:
    """The address for the owner of the tables."""
    return postgres_stack.info.migration_database_url


@pytest.fixture(scope="session")
def superuser_url(postgres_stack: Stack) -> str:
    """The address for the superuser, who alone can switch triggers off."""
    return postgres.url(postgres_stack.layout, postgres.SUPERUSER)


@pytest.fixture(scope="session")
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine of the application's role with room for many connections at once."""
    engine = make_sql_engine(database_url, pool_size=24, statement_timeout_s=30)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
def database(engine: AsyncEngine) -> Database:
    """Where transactions begin that commit for real."""
    return Database(engine)


@pytest.fixture
async def connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection in a transaction that is rolled back after the test."""
    async with engine.connect() as connection, connection.begin() as transaction:
        yield connection
        await transaction.rollback()


class NestedUnitOfWork(UnitOfWork):
    """A unit of work in a savepoint: its commit releases the savepoint and nothing more."""

    def __init__(self, connection: Connection, savepoint: AsyncTransaction) -> None:
        super().__init__(connection)
        self._savepoint = savepoint

    async def commit(self) -> None:
        await self._savepoint.commit()


@pytest.fixture
def begin(connection: AsyncConnection) -> Begin:
    """Begin transactions like `Database.begin`, one after the other, all inside `connection`'s."""
    one_at_a_time = asyncio.Lock()

    @asynccontextmanager
    async def begin_nested() -> AsyncIterator[UnitOfWork]:
        async with one_at_a_time:
            with translated_errors():
                savepoint = await connection.begin_nested()
                try:
                    yield NestedUnitOfWork(await as_product_sees(connection), savepoint)
                finally:
                    if savepoint.is_active:
                        await savepoint.rollback()

    return begin_nested
