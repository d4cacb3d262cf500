"""A crowd of Locust's users on a stack of its own, and what is true of the books when they have gone."""

import asyncio
import os
import random
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from api.client import Client
from loadtest.bed import OVERRIDES
from loadtest.figures import Tell
from loadtest.scenarios.world import VARIABLE, World, read_promises
from ops.stack import Stack
from ops.stack.layout import ROOT
from tests.faults.harness import SETTINGS, Harness, running
from tests.faults.invariants import Violation
from tests.faults.load import Api, Load
from tests.faults.payee import register_payee

REPORTS = ROOT / "loadtest" / "report"
_AT_ONCE = 4
_SHOPS = 5
_PRODUCTS_A_SHOP = 4
_PLENTY = 1_000_000
_ON_SALE_A_SECOND = 50
_EVENTS = 30
_LAST_TASK_S = 90
_WHOLE_LIST = 100
_LONGEST_TROUBLE_S = 10.0
# What befalls Stripe in a soak, one after another, each with its share of the calls or events.
_TROUBLE = (
    ("*", "delay_ms:800", 0.5),
    ("*", "error_500", 0.3),
    ("*", "error_500_after", 0.3),
    ("*", "drop_before", 0.3),
    ("*", "drop_after", 0.3),
    ("*", "error_429", 0.5),
    ("POST /v1/payment_intents", "delay_ms:5000", 0.1),
    ("*", "webhook_duplicate", 0.5),
    ("*", "webhook_reorder", 0.5),
    ("*", "webhook_drop", 0.3),
    ("*", "webhook_delay_ms:3000", 0.5),
)
_KNOWN_EVENTS = "SELECT body FROM stripe_events WHERE status = 'processed' LIMIT %s"
_STOCK = """
    SELECT p.id::text, p.stock,
           coalesce(sum(l.quantity) FILTER (WHERE o.status NOT IN ('cancelled', 'expired')), 0)
    FROM products p LEFT JOIN order_lines l ON l.product_id = p.id LEFT JOIN orders o ON o.id = l.order_id
    GROUP BY p.id ORDER BY p.id
"""
_SETTLED_AFTER = """
    SELECT coalesce(percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (
               ORDER BY 1000 * extract(epoch FROM e.created_at - p.created_at)::float8), '{0,0,0}')
    FROM payments p JOIN events e ON e.subject_id = p.id AND e.type IN ('payment.succeeded', 'payment.failed')
"""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a crowd does: `loadtest/scenarios/{name}.py`. A stage is a moment and a number of users, as shares."""

    name: str
    about: str
    users: int
    seconds: float
    stages: Sequence[tuple[float, float]]
    is_sale: bool = False
    needs_events: bool = False
    is_troubled: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. `stats` is Locust's own file, `settled_ms` p50, p95 and p99 from accepted to settled."""

    stats: Path
    report: Path
    log: Path
    exit_code: int
    promises: int
    settled_ms: Sequence[float]
    violations: Sequence[Violation]
    injected: Mapping[str, int] = field(default_factory=dict)


async def gather(scenario: Scenario, *, users: int, seconds: float, processes: int, tell: Tell) -> Outcome:
    """Start a stack, let the crowd in, wait until everything is settled, and check the books."""
    with tempfile.TemporaryDirectory(prefix="marketflow-load-") as directory:
        tell("starting a stack")
        settings = {**OVERRIDES, "MARKETFLOW_ADDRESS_LIMIT_PER_MINUTE": "10000000"}
        if scenario.is_troubled:
            settings = {**SETTINGS, **settings}
        async with _harness(Path(directory), settings) as harness:
            tell(f"registering {users} users")
            load = Load(harness.api, harness.rng, [], harness.payee, "")
            world = await _prepare(harness, load, scenario, Path(directory), users, processes, seconds)
            stock = _stock(harness)
            exit_code = await _run(harness, scenario, world, tell)
            load.accepted |= read_promises(Path(directory))
            tell(f"settling, and checking {len(load.accepted):,} promises against the books")
            violations = [*await harness.violations(load), *_stock_violations(stock, _stock(harness))]
            return Outcome(
                stats=_files(scenario)[0],
                report=_files(scenario)[1],
                log=_files(scenario)[2],
                exit_code=exit_code,
                promises=len(load.accepted),
                settled_ms=_settled_ms(harness),
                violations=violations,
                injected=harness.injected,
            )


@asynccontextmanager
async def _harness(directory: Path, settings: Mapping[str, str]) -> AsyncIterator[Harness]:
    stack = Stack(directory / "var", settings)
    async with (
        running(stack),
        Api(stack.info.api) as api,
        httpx.AsyncClient(base_url=stack.info.stripe, timeout=httpx.Timeout(60)) as stripe,
    ):
        rng = random.Random()  # noqa: S311 - which calls fail is nobody's secret
        yield Harness(stack, rng, api, stripe, await register_payee(api))


async def _prepare(  # noqa: PLR0917 - what a world is made of
    harness: Harness, load: Load, scenario: Scenario, directory: Path, users: int, processes: int, seconds: float
) -> World:
    """Open the shops and register the buyers, some to spare: Locust's processes share them almost evenly."""
    shops = [Client("", http=harness.api) for _ in range(1 if scenario.is_sale else _SHOPS)]
    load.buyers = [Client("", http=harness.api) for _ in range(users + 2 * processes)]
    gate = asyncio.Semaphore(_AT_ONCE)
    sellers = await asyncio.gather(*(_register(shop, "seller", gate) for shop in shops))
    await asyncio.gather(*(_register(buyer, "buyer", gate) for buyer in load.buyers))
    stock = max(1, round(_ON_SALE_A_SECOND * seconds)) if scenario.is_sale else _PLENTY
    count = 1 if scenario.is_sale else _PRODUCTS_A_SHOP
    products = [
        await shop.products.offer(f"Lamp {number}", 1_999, "USD", stock=stock)
        for shop in shops
        for number in range(count)
    ]
    load.product_id = products[0]["id"]
    return World(
        directory=str(directory),
        stats=str(_files(scenario)[0]),
        users=users,
        processes=processes,
        seconds=seconds,
        stages=scenario.stages,
        buyers=[buyer.credentials.bearer or "" for buyer in load.buyers],
        sellers=sellers,
        products=[product["id"] for product in products],
        webhook_secret=harness.stack.info.stripe_webhook_secret,
        events=await _known_events(harness, load) if scenario.needs_events else (),
    )


async def _register(client: Client, role: str, gate: asyncio.Semaphore) -> str:
    name = f"{role}-{random.randbytes(8).hex()}"  # noqa: S311 - only new
    email, password = f"{name}@example.com", f"of {name}"
    async with gate:
        user = await client.users.register(email, password, role)
        await client.log_in(email, password)
    return user["id"]


async def _known_events(harness: Harness, load: Load) -> list[str]:
    """Pay, and return the events that Stripe sent of it, once they are processed."""
    await asyncio.gather(*(load.pay("pm_card_visa") for _ in range(_EVENTS)))
    deadline = time.monotonic() + _LAST_TASK_S
    with harness.database() as connection:
        while True:
            events = [body for (body,) in connection.execute(_KNOWN_EVENTS, [_WHOLE_LIST])]
            if len(events) >= _EVENTS:
                return events
            if time.monotonic() > deadline:
                raise TimeoutError(f"only {len(events)} of Stripe's events came")
            await asyncio.sleep(0.1)


async def _run(harness: Harness, scenario: Scenario, world: World, tell: Tell) -> int:
    """Run Locust beside the trouble, if there is any, and return its exit code."""
    stats, report, log = _files(scenario)
    REPORTS.mkdir(exist_ok=True)
    stats.unlink(missing_ok=True)
    port = _free_port()
    command = [
        *(sys.executable, "-m", "locust", "--headless", "--only-summary", "--loglevel", "WARNING"),
        *("--locustfile", f"loadtest/scenarios/{scenario.name}.py", "--host", harness.stack.info.api),
        *("--processes", str(world.processes), "--stop-timeout", str(_LAST_TASK_S)),
        *("--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--master-port", port),
        *("--html", str(report)),
    ]
    trouble = asyncio.create_task(_trouble(harness, world.seconds)) if scenario.is_troubled else None
    with log.open("wb") as output:
        locust = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            env={**os.environ, VARIABLE: str(world.write())},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            return await _wait(locust, world, tell)
        finally:
            if locust.returncode is None:
                locust.terminate()
                await locust.wait()
            if trouble is not None:
                trouble.cancel()
                with suppress(asyncio.CancelledError):
                    await trouble


async def _wait(locust: asyncio.subprocess.Process, world: World, tell: Tell) -> int:
    """Wait for the end; a crowd that does not go home is sent."""
    began = time.monotonic()
    while (elapsed_s := time.monotonic() - began) < world.seconds + 2 * _LAST_TASK_S:
        tell(f"{min(elapsed_s, world.seconds):.0f} of {world.seconds:.0f} s, up to {world.users} users")
        with suppress(TimeoutError):
            return await asyncio.wait_for(locust.wait(), 1)
    raise TimeoutError("Locust does not end")


async def _trouble(harness: Harness, seconds: float) -> None:
    """Let Stripe be slow and fail in every way, one after another, with a breath between."""
    spell_s = min(_LONGEST_TROUBLE_S, seconds / len(_TROUBLE) / 1.5)
    while True:
        for match, effect, rate in _TROUBLE:
            await harness.fault(match, effect, rate=rate)
            await asyncio.sleep(spell_s)
            await harness.heal()
            await asyncio.sleep(spell_s / 2)


def _stock(harness: Harness) -> Mapping[str, tuple[int, int]]:
    """Return of each product what is left and what orders hold."""
    with harness.database() as connection:
        return {id_: (left, int(held)) for id_, left, held in connection.execute(_STOCK)}


def _stock_violations(
    before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]]
) -> list[Violation]:
    return [
        f"product {id_}: {sum(before[id_])} pieces became {left} left and {held} ordered"
        for id_, (left, held) in after.items()
        if left + held != sum(before[id_]) or left < 0
    ]


def _settled_ms(harness: Harness) -> Sequence[float]:
    with harness.database() as connection:
        row = connection.execute(_SETTLED_AFTER).fetchone()
    return row[0] if row else ()


def _files(scenario: Scenario) -> tuple[Path, Path, Path]:
    """Return where Locust puts its figures, its report, and what it has to say."""
    name = f"load-{scenario.name}"
    return REPORTS / f"{name}.json", REPORTS / f"{name}.html", REPORTS / f"{name}.log"


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
