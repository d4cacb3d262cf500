"""What is outside fails: wires to Redis, Stripe for a while, clocks, the node of the broker; and two reconcile."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from tests.eventually import eventually
from tests.faults.harness import SETTINGS, Harness
from tests.faults.load import Load, reconcile
from tests.faults.steps import accepts_promptly, extra_process, until

_OPEN_S = float(SETTINGS["MARKETFLOW_BREAKER_OPEN_S"])
_HOLE_S = 2.0
"""How long nothing comes through in one round of a black hole; `make faults` has some thirty rounds."""


async def wires_cut(harness: Harness, load: Load) -> None:
    """End, reset and slow down the connections to Redis, while customers pay."""
    proxy = harness.proxy
    assert proxy is not None
    harness.note("connection to redis ended", proxy.cut())
    await asyncio.sleep(harness.rng.uniform(0.1, 0.5))
    harness.note("connection to redis reset", proxy.reset())
    with proxy.slow(harness.rng):
        harness.note("wire to redis slow")
        await accepts_promptly(load)
        await asyncio.sleep(harness.rng.uniform(0.2, 0.6))


async def black_hole(harness: Harness, rounds: int) -> Load:
    """Swallow what is said to Redis and never tell: the API accepts, and workers consume again by themselves."""
    proxy = harness.proxy
    assert proxy is not None
    async with harness.load(clients=6, paced_s=0.1) as load:
        with proxy.black_hole():
            harness.note("black hole before redis")
            for _ in range(rounds):
                await accepts_promptly(load)
                await asyncio.sleep(_HOLE_S)
        await asyncio.sleep(1)
    return load


async def breaker_opens(harness: Harness, rounds: int) -> Load:
    """Let Stripe fail until the breaker opens: the API does not notice, and the fleet tries once at a time."""
    async with harness.load(clients=6, paced_s=0.02) as load:
        for _ in range(rounds):
            await harness.fault("*", harness.rng.choice(["drop_before", "delay_ms:5000"]))
            await eventually(lambda: _breaker_is(harness, "open", "half_open"))
            before, began = await _hits(harness), time.monotonic()
            for _ in range(6):
                await accepts_promptly(load)
                await asyncio.sleep(_OPEN_S / 2)
            calls, passed_s = await _hits(harness) - before, time.monotonic() - began
            harness.note("call while the breaker was open", calls)
            if calls > 2 * (passed_s / _OPEN_S + 1):
                load.problems.append(f"{calls} calls within {passed_s:.1f} s, although the breaker was open")
            await harness.heal()
            await eventually(lambda: _breaker_is(harness, "closed"), 60)
    return load


async def clocks_apart(harness: Harness, rounds: int) -> Load:
    """Let workers whose clocks are ten minutes wrong, one in each direction, do the work as well."""
    async with harness.load(clients=6) as load:
        for _ in range(rounds):
            with _worker_at(harness, "+600"), _worker_at(harness, "-600"):
                harness.note("worker with a wrong clock", 2)
                promised = len(load.accepted)
                await asyncio.sleep(2)
                await eventually(lambda promised=promised: len(load.accepted) > promised + 100, 60)
    return load


async def broker_node_restarted(harness: Harness, load: Load) -> None:
    """End the node of RabbitMQ in order, and start it again."""
    node = harness.node
    assert node is not None
    await asyncio.to_thread(node.stop)
    harness.note("broker node stopped")
    await accepts_promptly(load)
    await asyncio.to_thread(node.ensure_started)
    promised = len(load.accepted)
    await eventually(lambda: len(load.accepted) > promised + 50)


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


async def _breaker_is(harness: Harness, *states: str) -> bool:
    page = (await harness.api.get("/metrics")).text
    return any(f'marketflow_stripe_breaker_state{{state="{state}"}} 1' in page for state in states)


async def _hits(harness: Harness) -> int:
    answer = await harness.stripe.get("/_sandbox/faults")
    return sum(fault["hits"] for fault in answer.raise_for_status().json()["faults"])
