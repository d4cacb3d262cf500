"""The workers' parts on real servers: a sandbox that plays Stripe, and a Valkey that is the broker."""

import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
from aiohttp import web
from celery import Celery
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from db.breaker import Breaker
from db.breaker_rules import BreakerPolicy, LocalRules, RedisRules
from db.broker import CeleryQueue
from db.egress import RedisBucket
from db.shared_state import SharedState
from ops.stack import Stack
from tests.domain.fakes import FakeMonotonic
from workers.factory import make_celery
from workers.stripe_calls import StripeCalls
from workers.stripe_egress import StripeEgress
from workers.stripe_gateway import StripeGateway
from workers.stripe_payouts import StripePayouts
from workers.stripe_refunds import StripeRefunds

API_KEY = "sk_test_of_the_tests"


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The sandbox and a broker, without the rest of the stack."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("REDIS_URL", "BROKER_URL", "STRIPE_API_BASE"):
            patch.delenv(f"MARKETFLOW_{name}", raising=False)
        directory = tmp_path_factory.mktemp("workers") / "var"
        with Stack(directory, programs={"stripe", "valkey"}) as stack:
            yield stack


@pytest.fixture(scope="session")
def stripe_url(servers: Stack) -> str:
    return servers.info.stripe


@pytest.fixture(scope="session")
def broker_url(servers: Stack) -> str:
    return servers.info.broker_url


@pytest.fixture
async def sandbox(stripe_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """The sandbox, emptied, under its control API."""
    async with httpx.AsyncClient(base_url=f"{stripe_url}/_sandbox", trust_env=False) as control:
        await control.delete("/state")
        await control.delete("/faults")
        yield control


@pytest.fixture
def fault(sandbox: httpx.AsyncClient) -> Callable[..., Awaitable[None]]:
    """Order a fault of the next call that makes an intent; `match` names another call."""

    async def order(effect: str, match: str = "POST /v1/payment_intents", **more: Any) -> None:
        answer = await sandbox.post("/faults", json={"match": match, "effect": effect, "count": 1, **more})
        assert answer.status_code == 201, answer.text

    return order


@pytest.fixture
async def redis(servers: Stack) -> AsyncIterator[AsyncRedis]:
    """What the workers share, empty before the test."""
    async with AsyncRedis.from_url(servers.info.redis_url) as client:
        await client.flushdb()
        yield client


@pytest.fixture
def monotonic() -> FakeMonotonic:
    return FakeMonotonic()


@pytest.fixture
def egress_of(redis: AsyncRedis, monotonic: FakeMonotonic) -> Callable[..., StripeEgress]:
    """Return the way out to Stripe as another process has it; `rate` is that of the fleet."""

    def start(
        rate: float = 0,
        client: AsyncRedis = redis,
        longest_wait_s: float = 1.0,
        on_wait: Callable[[float], None] = lambda _: None,
    ) -> StripeEgress:
        state = SharedState(on_failure=lambda: None)
        policy = BreakerPolicy()
        fleet, alone = RedisRules(client, policy), LocalRules(policy, clock=monotonic)
        bucket = RedisBucket(client, rate_per_second=rate) if rate else None
        return StripeEgress(
            Breaker(fleet, alone, state, clock=monotonic), bucket, longest_wait_s=longest_wait_s, on_wait=on_wait
        )

    return start


@pytest.fixture
async def connect(
    stripe_url: str, egress_of: Callable[..., StripeEgress]
) -> AsyncIterator[Callable[..., StripeCalls]]:
    """Open connections to Stripe that are closed after the test."""
    async with contextlib.AsyncExitStack() as opened:

        def open_one(egress: StripeEgress | None = None, **changes: Any) -> StripeCalls:
            options = {"api_key": API_KEY, "api_base": stripe_url, "timeout_s": 30.0, **changes}
            calls = StripeCalls(egress or egress_of(), **options)
            opened.push_async_callback(calls.close)
            return calls

        yield open_one


@pytest.fixture
def calls(sandbox: httpx.AsyncClient, connect: Callable[..., StripeCalls]) -> StripeCalls:
    return connect()


@pytest.fixture
def gateway(calls: StripeCalls) -> StripeGateway:
    return StripeGateway(calls)


@pytest.fixture
def refunds(calls: StripeCalls) -> StripeRefunds:
    return StripeRefunds(calls)


@pytest.fixture
def payouts(calls: StripeCalls) -> StripePayouts:
    return StripePayouts(calls)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nobody listens, and nobody else can meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port for a server that the test starts; nobody else is given it meanwhile."""
    with socket.socket() as taken:
        # Servers set this too, and so may listen where somebody else only holds the port.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield int(server.getsockname()[1])


@pytest.fixture
async def unreadable_stripe() -> AsyncIterator[str]:
    """An address that answers every call with an object that is no intent."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"id": "pi_1", "object": "payment_intent", "status": "of another world"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
def broker(broker_url: str) -> Iterator[Celery]:
    """An application on the broker, which is empty before the test."""
    with Redis.from_url(broker_url) as client:
        client.flushdb()
    app = make_celery(broker_url, socket_timeout_s=60.0)
    yield app
    app.close()


@pytest.fixture
def queue(broker: Celery, broker_url: str) -> Iterator[CeleryQueue]:
    queue = CeleryQueue(broker_url, socket_timeout_s=60.0)
    yield queue
    queue.close()
