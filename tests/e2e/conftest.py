"""The whole stack, once for all these tests: PostgreSQL, Valkey, API, workers, beat, Flower and the sandbox."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import httpx
import pytest

from ops.stack import Stack
from tests.e2e.market import Caller, Json, Market, Sandbox
from tests.otlp import Collector, collecting
from tests.refusals import noting

REPLACING = ("DATABASE_URL", "MIGRATION_DATABASE_URL", "REDIS_URL", "BROKER_URL", "STRIPE_API_BASE")
IMPATIENT = {
    "MARKETFLOW_RATE_LIMIT_PER_MINUTE": "100000",
    "MARKETFLOW_RATE_LIMIT_BURST": "10000",
    "MARKETFLOW_LOOKUP_GRACE_S": "1",
    "MARKETFLOW_REPUBLISH_AFTER_S": "1",
    "MARKETFLOW_SWEEP_INTERVAL_S": "0.25",
    "MARKETFLOW_AUDIT_INTERVAL_S": "1",
    "MARKETFLOW_RECONCILE_INTERVAL_S": "0.5",
    "MARKETFLOW_RECONCILE_GRACE_S": "0",
    "MARKETFLOW_RETRY_BASE_S": "0.2",
    "MARKETFLOW_RETRY_CAP_S": "1",
    "MARKETFLOW_BREAKER_OPEN_S": "0.5",
    "MARKETFLOW_ORDER_COMPLETES_AFTER_S": "3",
    "MARKETFLOW_WEBHOOK_SCHEDULE_S": "0,0.5,0.5,1,1,1,1,1,1,1",
    "MARKETFLOW_WEBHOOK_REST_CAP_S": "0.5",
}
"""Waiting as long as production does would only make the tests wait."""

PATIENT = {
    "MARKETFLOW_REDIS_TIMEOUT_S": "10",
    "MARKETFLOW_BROKER_TIMEOUT_S": "10",
    "MARKETFLOW_DATABASE_STATEMENT_TIMEOUT_S": "10",
    "MARKETFLOW_WEBHOOK_TIMEOUT_S": "10",
    "MARKETFLOW_STRIPE_TIMEOUT_S": "5",
}
"""How long one waits for an answer that comes.

A busy machine stands still for a second or two. To whom that is too long it is a part that is away: then logging
in is refused, a statement given up, a charge unsure. No test waits here until Redis, the broker, a statement or a
customer's server is given up (what is stopped refuses at once); one does for Stripe, which has a little less time.
"""


@contextmanager
def without_given_servers() -> Iterator[None]:
    """Addresses in the environment around the tests do not replace the parts that are tested."""
    with pytest.MonkeyPatch.context() as patch:
        for name in REPLACING:
            patch.delenv(f"MARKETFLOW_{name}", raising=False)
        yield


@pytest.fixture(scope="package")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Stack]:
    traces = {"MARKETFLOW_OTLP_ENDPOINT": collector.url, "MARKETFLOW_TRACE_SAMPLE_RATIO": "1"}
    directory = tmp_path_factory.mktemp("market") / "var"
    with without_given_servers(), Stack(directory, {**IMPATIENT, **PATIENT, **traces}) as stack:
        yield stack


@pytest.fixture(scope="package")
async def market(stack: Stack) -> AsyncIterator[Market]:
    info = stack.info
    async with (
        httpx.AsyncClient(base_url=info.api, timeout=35, trust_env=False, event_hooks=noting()) as api,
        httpx.AsyncClient(base_url=info.stripe, timeout=35, trust_env=False) as stripe,
    ):
        yield Market(info, api, Sandbox(stripe, info.stripe_api_key))


@pytest.fixture(scope="package")
async def seller(market: Market) -> Caller:
    return await market.register("seller")


@pytest.fixture(scope="package")
async def buyer(market: Market) -> Caller:
    return await market.register("buyer")


@pytest.fixture(scope="package")
async def product(market: Market, seller: Caller) -> Json:
    return await market.product(seller)


@pytest.fixture
async def order(market: Market, buyer: Caller, product: Json) -> Json:
    """A pending order of 19.99 USD."""
    return await market.order(buyer, product)


@pytest.fixture
def sandbox(market: Market) -> Sandbox:
    return market.sandbox


@pytest.fixture(autouse=True)
async def books_agree(market: Market) -> AsyncIterator[None]:
    """After every test our books say to the cent what Stripe says."""
    yield
    await market.sandbox.end_faults()
    await market.check_books()
