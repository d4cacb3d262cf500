"""Processes of ours die, or end in order and begin again, while customers pay."""

import asyncio
import os
import signal
import uuid
from contextlib import suppress

import psutil

from tests.eventually import eventually
from tests.faults.harness import Harness
from tests.faults.load import Load
from tests.faults.steps import under_load, until

DELIVERIES_EVERY = 5
"""In each such round the process dies that delivers webhooks, too: it is away for longer than a round."""


async def kill_worker(harness: Harness) -> None:
    """Kill one worker process in the middle of whatever it does, and every third time all of them."""
    pids = harness.stack.pids("workers")
    doomed = pids if harness.rng.random() < 1 / 3 else harness.rng.sample(pids, k=min(1, len(pids)))
    for pid in doomed:
        _kill(pid)
    harness.note("worker killed", len(doomed))


async def kill_deliveries(harness: Harness) -> None:
    """Kill the process that delivers webhooks while it waits for an answer: nobody has noted what was sent."""
    listener = harness.listener
    assert listener is not None
    with listener.receiver.silent():
        await eventually(lambda: listener.receiver.unanswered > 0, 60)
        harness.note("deliveries killed", len(harness.stack.kill("deliveries")))


async def workers_killed(harness: Harness, rounds: int) -> Load:
    """Kill what works, at seeded moments; now and then what delivers, which is another process."""
    async with harness.load() as load:
        for number in range(rounds):
            await asyncio.sleep(harness.rng.uniform(0.2, 0.8))
            if number % DELIVERIES_EVERY == 0:
                await kill_deliveries(harness)
            await kill_worker(harness)
        await asyncio.sleep(0.4)
    return load


async def kill_api(harness: Harness, _: Load) -> None:
    """Kill a gunicorn worker, or its master; the customers repeat with the same key."""
    masters = harness.stack.pids("api")
    workers = [pid for pid in harness.stack.pids("api", children=True) if pid not in masters]
    if workers and harness.rng.random() < 2 / 3:
        _kill(harness.rng.choice(workers))
        harness.note("gunicorn worker killed")
        return
    for pid in masters:
        _kill(pid)
    harness.note("gunicorn master killed", len(masters))
    await asyncio.to_thread(harness.stack.wait_ready)


async def rolling_restart(harness: Harness, load: Load) -> None:
    """End each API process and each worker in order, one after the other; no customer notices."""
    before = load.api.broken.total()
    masters = harness.stack.pids("api")
    for pid in set(harness.stack.pids("api", children=True)) - set(masters):
        os.kill(pid, signal.SIGTERM)
        await _until_gone(pid)
        await _until_api_processes(harness, masters)
    for pid in harness.stack.pids("workers"):
        os.kill(pid, signal.SIGTERM)
        await _until_gone(pid)
        await asyncio.to_thread(harness.stack.wait_ready)
    harness.note("rolling restart")
    if load.api.broken.total() > before:
        load.problems.append(f"a rolling restart broke requests: {dict(load.api.broken)}")


async def rolling_restarts(harness: Harness, rounds: int) -> Load:
    """Restart everything in order, again and again; no payment waits for the lease of a worker that has gone."""
    load = await under_load(rolling_restart)(harness, rounds)
    query = """
        SELECT count(*) FROM payments p
        JOIN events e ON e.subject_id = p.id AND e.type IN ('payment.succeeded', 'payment.failed')
        WHERE p.id = ANY(%s) AND p.attempts > 1 AND e.created_at - p.created_at >= make_interval(secs => %s)
    """
    ids = [uuid.UUID(payment_id) for payment_id in load.accepted.values()]
    await until(harness, "SELECT count(*) = 0 FROM payments WHERE due_at IS NOT NULL AND id = ANY(%s)", ids)
    with harness.database() as connection:
        row = connection.execute(query, [ids, harness.stack.plan.settings.lease_s]).fetchone()
    if row is None or row[0]:
        load.problems.append(f"{row} payments waited for a lease")
    return load


async def _until_gone(pid: int) -> None:
    """Wait until a process has ended."""
    for _ in range(1_200):
        if not psutil.pid_exists(pid):
            return
        await asyncio.sleep(0.05)


async def _until_api_processes(harness: Harness, masters: list[int]) -> None:
    """Wait until gunicorn's master has as many workers as it should."""
    wanted = harness.stack.plan.settings.api_workers
    for _ in range(400):
        children = [child for pid in masters for child in psutil.Process(pid).children()]
        if sum(map(_serves, children)) >= wanted:
            return
        await asyncio.sleep(0.05)


def _serves(child: psutil.Process) -> bool:
    """Tell a worker from the nursery that makes one, which has nothing but the listening socket."""
    with suppress(psutil.NoSuchProcess):
        return len(child.net_connections("all")) > 1
    return False


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
