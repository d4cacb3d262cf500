"""The fault harness: a stack, load through it, faults at seeded moments, and the invariants afterwards."""

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from api.client import Client
from ops.stack import Stack
from tests.faults.invariants import Violation, check
from tests.faults.listener import Listener, open_listener
from tests.faults.load import Api, Load
from tests.faults.payee import Payee, open_payee
from tests.faults.proxy import Proxy
from tests.faults.resources import Resources, measure
from tests.faults.sessions import PATIENT
from tests.rabbitmq import RabbitNode

# Short waits, so that a case sees every retry within seconds; nothing else differs from `make up`. Coverage is not
# measured here: it would slow down every process of the stack, and one that is killed leaves half a file of it.
SETTINGS = {
    "COVERAGE_PROCESS_CONFIG": "",
    "MARKETFLOW_RATE_LIMIT_PER_MINUTE": "1000000",
    "MARKETFLOW_RATE_LIMIT_BURST": "1000000",
    "MARKETFLOW_REPUBLISH_AFTER_S": "2",
    "MARKETFLOW_LOOKUP_GRACE_S": "2",
    "MARKETFLOW_STRIPE_TIMEOUT_S": "1.5",
    "MARKETFLOW_BREAKER_OPEN_S": "1",
    "MARKETFLOW_DATABASE_STATEMENT_TIMEOUT_S": "3",
    "MARKETFLOW_RETRY_BASE_S": "0.25",
    "MARKETFLOW_RETRY_CAP_S": "2",
    "MARKETFLOW_SWEEP_INTERVAL_S": "0.5",
    "MARKETFLOW_DIRECT_HOLD_S": "0",
    "MARKETFLOW_SANDBOX_SETTLEMENT_DELAY_S": "0",
    "MARKETFLOW_PAYOUT_INTERVAL_S": "1",
    "MARKETFLOW_RECONCILE_INTERVAL_S": "1",
    # What a process that is killed had in hand is sent again when its lease ends, which takes longer by this.
    "MARKETFLOW_WEBHOOK_TIMEOUT_S": "2",
    "MARKETFLOW_WEBHOOK_SCHEDULE_S": "0,0.5,1,2,5,10,20,30,60",
}
SETTLE_TIMEOUT_S = 120
LATENCY_S = 30
"""How long a call to Stripe takes that is slow: far longer than anybody waits for it."""


@dataclass(slots=True)
class Harness:
    """A running stack under test; `injected` counts what was done to it."""

    stack: Stack
    rng: random.Random
    api: Api
    stripe: httpx.AsyncClient
    payee: Payee
    proxy: Proxy | None = None
    """What stands before Redis, in a world that has wires to cut."""
    node: RabbitNode | None = None
    """The broker, in a world where it is one."""
    injected: dict[str, int] = field(default_factory=dict)
    listener: Listener | None = None
    """A buyer who is told of everything, where that is to be checked."""
    before: Resources | None = None
    """What the processes held at first, where they are to return to it."""
    _finance: Client | None = None

    def note(self, fault: str, count: int = 1) -> None:
        """Count a fault that was injected."""
        self.injected[fault] = self.injected.get(fault, 0) + count

    @asynccontextmanager
    async def load(self, *, clients: int = 12, paced_s: float = 0.0) -> AsyncIterator[Load]:
        """Run customers in the background while the block lasts; each finishes what it began."""
        load, finance = await self.customers(), await self.finance()
        tasks = [asyncio.create_task(load.customer(paced_s)) for _ in range(clients)]
        tasks += [asyncio.create_task(work) for work in (load.collector(), load.accountant(finance))]
        watching = asyncio.create_task(self.api.note_standstills())
        try:
            yield load
        finally:
            load.stop()
            await asyncio.gather(*tasks)
            watching.cancel()

    async def customers(self) -> Load:
        """Register new customers, who do nothing by themselves."""
        payer = self.listener.payer if self.listener is not None else None
        return await Load.open(self.api, self.rng, self.payee, payer)

    async def finance(self) -> Client:
        """Return somebody who may reconcile and refund everything."""
        if self._finance is None:
            finance, user = Client("", http=self.api, retry=PATIENT), self.stack.info.users["finance"]
            await finance.log_in(user.email, user.password)
            self._finance = finance
        return self._finance

    async def fault(self, match: str, effect: str, **options: Any) -> None:
        """Order a fault of the sandbox."""
        body = {"match": match, "effect": effect, "seed": self.rng.randrange(2**31), **options}
        (await self.stripe.post("/_sandbox/faults", json=body)).raise_for_status()
        self.note(effect)

    async def let_arrive(self) -> None:
        """Let time pass at the sandbox until calls have arrived there that are slow; `heal` sets it right."""
        (await self.stripe.post("/_sandbox/clock", json={"offset_s": LATENCY_S})).raise_for_status()

    async def heal(self) -> None:
        """Take all faults of the sandbox back, and its clock to now."""
        (await self.stripe.delete("/_sandbox/faults")).raise_for_status()
        (await self.stripe.post("/_sandbox/clock", json={"offset_s": 0})).raise_for_status()

    async def sandbox_state(self) -> Mapping[str, Any]:
        """Return the sandbox's truth."""
        state: Mapping[str, Any] = (await self.stripe.get("/_sandbox/state")).json()
        return state

    def database(self, *, owner: bool = False) -> psycopg.Connection[tuple[Any, ...]]:
        """Open a connection of the application's role, or of the owner's."""
        info = self.stack.info
        url = info.migration_database_url if owner else info.database_url
        return psycopg.connect(url, autocommit=True, application_name="faults")

    async def violations(self, load: Load) -> list[Violation]:
        """Wait until everything is settled and return which invariants do not hold."""
        await self.heal()
        return await check(self, load, timeout_s=SETTLE_TIMEOUT_S)


@asynccontextmanager
async def open_harness(
    seed: int,
    settings: Mapping[str, str] | None = None,
    *,
    proxy: Proxy | None = None,
    around: Callable[[Stack], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> AsyncIterator[Harness]:
    """Start a stack of its own in a temporary directory and stop it at the end.

    The stack starts and ends within what `around` makes of it.
    """
    with tempfile.TemporaryDirectory(prefix="marketflow-faults-") as directory:
        stack = Stack(Path(directory) / "var", {**SETTINGS, **(settings or {})})
        with around(stack):
            async with (
                running(stack),
                Api(stack.info.api) as api,
                httpx.AsyncClient(base_url=stack.info.stripe, timeout=httpx.Timeout(60)) as stripe,
                open_listener(api) as listener,
            ):
                payee = await open_payee(api)
                harness = Harness(stack, random.Random(seed), api, stripe, payee, proxy, listener=listener)
                harness.before = measure(harness)
                yield harness


@asynccontextmanager
async def running(stack: Stack) -> AsyncIterator[None]:
    """Start a stack in a thread, and stop it at the end.

    A thread cannot be interrupted: where this is, it waits for the start first. What would be stopped and removed
    in the middle of it would go on to start.
    """
    starting = asyncio.get_running_loop().run_in_executor(None, stack.start)
    try:
        await asyncio.shield(starting)
        yield
    finally:
        await asyncio.wait([starting])
        await asyncio.to_thread(stack.stop)
