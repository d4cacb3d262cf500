import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import psycopg
import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.unit_of_work import Database
from domain.payments.service import PaymentService
from domain.settlement.model import SettlementPolicy
from domain.settlement.service import SettlementService
from ops.stack import Stack
from tests.builders import PAYMENT_POLICY, Begin, Shop
from tests.domain.fakes import FakeClock, Memory, RecordingAnnouncer
from tests.engines import make_sql_engine


@pytest.fixture(scope="session", autouse=True)
def without_endpoints_of_other_tests(superuser_url: str) -> None:
    """Endpoints that other tests left behind hear everything, and so belong to whatever is told here."""
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute(
            "UPDATE webhook_endpoints SET status = 'deleted', secret = '' WHERE status <> 'deleted'"
        )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def announcer() -> RecordingAnnouncer:
    return RecordingAnnouncer()


@pytest.fixture(params=["memory", "postgres"])
def any_begin(request: pytest.FixtureRequest) -> Begin:
    """Where the fakes and the real repositories are held to one contract."""
    begin: Begin = Memory().begin if request.param == "memory" else request.getfixturevalue("begin")
    return begin


@pytest.fixture
async def shop(begin: Begin) -> Shop:
    """Users and products that are gone after the test."""
    return await Shop(begin).open()


@pytest.fixture
async def real_shop(database: Database) -> Shop:
    """Users and products that every connection sees."""
    return await Shop(database.begin).open()


@pytest.fixture
def payments(begin: Begin, announcer: RecordingAnnouncer, clock: FakeClock) -> PaymentService:
    return PaymentService(begin, announcer, clock, PAYMENT_POLICY)


@pytest.fixture
def real_payments(database: Database, announcer: RecordingAnnouncer, clock: FakeClock) -> PaymentService:
    return PaymentService(database.begin, announcer, clock, PAYMENT_POLICY)


@pytest.fixture
def settlement(begin: Begin, announcer: RecordingAnnouncer, clock: FakeClock) -> SettlementService:
    return SettlementService(begin, announcer, clock, SettlementPolicy())


@pytest.fixture
def real_settlement(database: Database, announcer: RecordingAnnouncer, clock: FakeClock) -> SettlementService:
    return SettlementService(database.begin, announcer, clock, SettlementPolicy())


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey of these tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("REDIS_URL", "BROKER_URL"):
            patch.delenv(f"MARKETFLOW_{name}", raising=False)
        with Stack(tmp_path_factory.mktemp("valkey") / "var", programs={"valkey"}) as stack:
            yield stack.info.redis_url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of the Valkey, which is empty before the test."""
    async with Redis.from_url(redis_url) as client:
        await client.flushdb()
        yield client


@pytest.fixture
async def lost_redis() -> AsyncIterator[Redis]:
    """A client whose server is away."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        async with Redis(port=probe.getsockname()[1], socket_timeout=0.5, socket_connect_timeout=0.5) as client:
            yield client


@pytest.fixture(scope="session")
async def owner_engine(owner_url: str) -> AsyncIterator[AsyncEngine]:
    engine = make_sql_engine(owner_url, pool_size=2, statement_timeout_s=60)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
async def superuser_engine(superuser_url: str) -> AsyncIterator[AsyncEngine]:
    engine = make_sql_engine(superuser_url, pool_size=2, statement_timeout_s=60)
    yield engine
    await engine.dispose()


@pytest.fixture
def blocked(superuser_engine: AsyncEngine) -> Callable[[int], Awaitable[None]]:
    """Wait until that many of the application's transactions wait for another's lock."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'marketflow_app' AND wait_event_type = 'Lock'"
    )

    async def wait(count: int) -> None:
        async with asyncio.timeout(60), superuser_engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            while (await connection.execute(waiting)).scalar_one() < count:
                await asyncio.sleep(0.01)

    return wait


@pytest.fixture
async def superuser(superuser_engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A superuser's connection in a transaction that is rolled back; at first with all triggers off."""
    async with superuser_engine.connect() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        yield connection
        await connection.rollback()
