"""What is outside fails: wires to Redis, Stripe for a while, clocks, the node of the broker; and two reconcile."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path

from tests.eventually import eventually
from tests.faults.harness import LATENCY_S, SETTINGS, Harness
from tests.faults.load import Load, reconcile
from tests.faults.steps import accepting_promptly, accepts_promptly, extra_process, until

_OPEN_S = float(SETTINGS["MARKETFLOW_BREAKER_OPEN_S"])
_HOLE_S = 2.0
"""How long nothing comes through in one round of a black hole; `make faults` has thirty rounds."""
_OUTAGES = (f"delay_ms:{1_000 * LATENCY_S}", "error_500", "drop_before")
"""Each opens the breaker."""
_TRIES = 3


async def wires_cut(harness: Harness, load: Load) -> None:
    """End, reset and slow down the connections to Redis, while customers pay."""
    proxy = harness.proxy
    assert proxy is not None
    with accepting_promptly(load):
        harness.note("connection to redis ended", proxy.cut())
        await asyncio.sleep(harness.rng.uniform(0.1, 0.5))
        harness.note("connection to redis reset", proxy.reset())
        with proxy.slow(harness.rng):
            harness.note("wire to redis slow")
            await accepts_promptly(load)
            await asyncio.sleep(harness.rng.uniform(0.2, 0.6))


async def api_hears_no_redis(harness: Harness, rounds: int) -> Load:
    """Swallow what the API and Redis say to each other: it accepts, and the sweeper tells the workers."""
    async with harness.load(clients=6, paced_s=0.1) as load:
        with _black_hole(harness, load, "api"):
            await accepts_promptly(load)
            payment_id = await load.pay("pm_card_visa")
            await until(harness, "SELECT status = 'succeeded' FROM payments WHERE id = %s", payment_id)
            await asyncio.sleep(_HOLE_S * rounds)
        await asyncio.sleep(1)
    return load


async def workers_hear_no_redis(harness: Harness, rounds: int) -> Load:
    """Swallow what the workers and Redis say to each other: those same workers consume again by themselves."""
    before = harness.stack.pids("workers")
    async with harness.load(clients=6, paced_s=0.1) as load:
        with _black_hole(harness, load, "workers", "deliveries", "beat"):
            await accepts_promptly(load)
            await asyncio.sleep(_HOLE_S * rounds)
        payment_id = await load.pay("pm_card_visa")
        await until(harness, "SELECT status = 'succeeded' FROM payments WHERE id = %s", payment_id)
    if harness.stack.pids("workers") != before:
        load.problems.append("a worker did not outlive the silence of Redis")
    return load


async def breaker_opens(harness: Harness, rounds: int) -> Load:
    """Let Stripe fail until the breaker opens: the API does not notice, and the fleet tries once at a time."""
    async with harness.load(clients=6, paced_s=0.02) as load:
        for number in range(rounds):
            await harness.fault("*", _OUTAGES[number % len(_OUTAGES)])
            await eventually(lambda: _breaker_is(harness, "open", "half_open"), 60)
            # Each process goes for a moment by what it heard last, and what it had begun by then still arrives.
            await eventually(lambda: _is_still(harness), 60)
            found = [await _calls_beyond_trials(harness, load)]
            # A process that stood still at its call makes it later, once; who goes on calling is found each time.
            while found[-1] and len(found) < _TRIES:
                found.append(await _calls_beyond_trials(harness, load))
            if found[-1]:
                load.problems.append(f"the breaker was open, and yet, one time after another: {', '.join(found)}")
            await harness.let_arrive()
            await harness.heal()
            await eventually(lambda: _breaker_is(harness, "closed"), 60)
    return load


async def clocks_apart(harness: Harness, rounds: int) -> Load:
    """Let workers whose clocks are ten minutes wrong, one in each direction, do the work: all of it, and a part.

    They go by the database's: nothing of theirs waits ten minutes, and webhooks that they sign are believed.
    """
    listener = harness.listener
    assert listener is not None
    async with harness.load(clients=6) as load:
        for _ in range(rounds):
            with _worker_at(harness, "+600"), _worker_at(harness, "-600"):
                harness.note("worker with a wrong clock", 2)
                async with _away(harness, "workers"), _away(harness, "deliveries"):
                    told = len(listener.delivered)
                    await eventually(lambda told=told: len(listener.delivered) > told + 20, 60)
                promised = len(load.accepted)
                await eventually(lambda promised=promised: len(load.accepted) > promised + 100, 60)
    return load


async def broker_node_restarted(harness: Harness, load: Load) -> None:
    """End the node of RabbitMQ in order, and start it again."""
    node = harness.node
    assert node is not None
    with accepting_promptly(load):
        await asyncio.to_thread(node.stop)
        harness.note("broker node stopped")
        await accepts_promptly(load)
        await asyncio.to_thread(node.ensure_started)
        promised = len(load.accepted)
        await eventually(lambda: len(load.accepted) > promised + 50, 60)


async def two_reconcilers(harness: Harness, rounds: int) -> Load:
    """Lose webhooks, and let several runs reconcile and mend the same hours at once, beside the sweeper."""
    finance = await harness.finance()
    async with harness.load(clients=6, paced_s=0.02) as load:
        for _ in range(rounds):
            await harness.fault("*", "webhook_drop", rate=0.5)
            await asyncio.sleep(0.8)
            await harness.heal()
            runs = await asyncio.gather(*(reconcile(finance, timedelta(hours=1)) for _ in range(3)))
            harness.note("reconciliation of the same hours", len(runs))
            for run_id in set(runs):
                await until(harness, "SELECT status = 'succeeded' FROM reconciliations WHERE id = %s", run_id)
    return load


def no_faketime() -> str:
    """Say why no clock can be changed."""
    return "" if _faketime() else "libfaketime is missing (Debian's libfaketime)"


def _faketime() -> Path | None:
    return next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)


@asynccontextmanager
async def _away(harness: Harness, program: str) -> AsyncIterator[None]:
    """Do without a program of the stack, which ends in order and is started again."""
    await asyncio.to_thread(harness.stack.stop_program, program)
    try:
        yield
    finally:
        await asyncio.to_thread(harness.stack.start_program, program)


@contextmanager
def _worker_at(harness: Harness, offset_s: str) -> Iterator[None]:
    library = str(_faketime())
    environment = {
        "LD_PRELOAD": library,
        "FAKETIME": f"{offset_s}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "MARKETFLOW_WORKER_METRICS_PORT": "0",
    }
    name = f"clock{offset_s}@%h"
    with extra_process(harness.stack, "worker", "-P", "threads", "-c", "4", "-n", name, environment=environment):
        yield


@contextmanager
def _black_hole(harness: Harness, load: Load, *programs: str) -> Iterator[None]:
    """Let some programs and Redis speak into the void, while what is asked for is accepted in time."""
    proxy = harness.proxy
    assert proxy is not None
    pids = [pid for program in programs for pid in harness.stack.pids(program, children=True)]
    with accepting_promptly(load), proxy.black_hole(pids):
        harness.note(f"black hole between {programs[0]} and redis")
        yield


async def _breaker_is(harness: Harness, *states: str) -> bool:
    page = (await harness.api.get("/metrics")).text
    return any(f'marketflow_stripe_breaker_state{{state="{state}"}} 1' in page for state in states)


async def _calls_beyond_trials(harness: Harness, load: Load) -> str:
    """Accept payments for a while; return how many calls Stripe had meanwhile if those are more than trials."""
    before, began = await _hits(harness), time.monotonic()
    with accepting_promptly(load):
        for _ in range(4):
            await accepts_promptly(load)
            await asyncio.sleep(_OPEN_S / 2)
    calls, passed_s = await _hits(harness) - before, time.monotonic() - began
    harness.note("call while the breaker was open", calls)
    return f"{calls} calls within {passed_s:.1f} s" if calls > 2 * (passed_s / _OPEN_S + 1) else ""


async def _is_still(harness: Harness) -> bool:
    """Whether nobody calls Stripe for a while, which is shorter than the breaker stays open."""
    before = await _hits(harness)
    await asyncio.sleep(_OPEN_S / 2)
    return await _hits(harness) == before


async def _hits(harness: Harness) -> int:
    answer = await harness.stripe.get("/_sandbox/faults")
    return sum(fault["hits"] for fault in answer.raise_for_status().json()["faults"])
