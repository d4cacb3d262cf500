"""A case of its own: webhooks stored by the ten thousand while no worker runs, and new ones that do not wait."""

import asyncio
import json
import time
import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import count
from statistics import median

import psutil
import redis

from db.broker import CeleryQueue
from domain.work import Work
from ops.stripe_sandbox.webhooks import sign
from tests.eventually import eventually
from tests.faults.harness import Harness
from tests.faults.load import Load

EVENTS_A_ROUND = 2_000
ANNOUNCED = 2_000
"""So many of the backlog have their messages already; the others wait for the sweeper."""
MESSAGE = 16
BEFORE = 20
"""So many new webhooks come before a worker runs again."""
MAX_RSS_BYTES = 400 * 2**20
DRAIN_S = 600.0

# Everything of it was processed before, under another id: real events about real payments.
_STORE = """
    WITH known AS (
        SELECT row_number() OVER (ORDER BY id) - 1 AS number, type, body
        FROM (SELECT id, type, body FROM stripe_events
              WHERE status = 'processed' AND type LIKE 'payment_intent.%%' ORDER BY id LIMIT 200) AS chosen
    ), born AS (SELECT now() - interval '1 hour' AS at)
    INSERT INTO stripe_events (id, type, body, status, received_at, due_at, publish_at)
    SELECT %(prefix)s || n, type, body, 'received', at + n * interval '1 ms', at + n * interval '1 ms',
           CASE WHEN n < %(announced)s THEN now() + interval '5 s' ELSE now() END
    FROM generate_series(0, %(wanted)s - 1) AS n, born, known
    WHERE known.number = n %% (SELECT count(*) FROM known)
"""
_PROCESSED = "SELECT body FROM stripe_events WHERE status = 'processed' AND type LIKE 'payment_intent.%' LIMIT 1"
_TIMES = """
    SELECT extract(epoch FROM received_at)::float8, extract(epoch FROM handled_at)::float8
    FROM stripe_events WHERE starts_with(id, %s) ORDER BY handled_at
"""


async def webhook_backlog(harness: Harness, rounds: int) -> Load:
    """Store a backlog with the workers stopped and let it drain while customers pay and webhooks come."""
    wanted, run = EVENTS_A_ROUND * rounds, uuid.UUID(int=harness.rng.getrandbits(128)).hex
    load = await harness.customers()
    await asyncio.gather(*(load.pay("pm_card_visa") for _ in range(20)))
    await eventually(lambda: _left(harness, "") == 0 and _processed(harness) > 0)
    await asyncio.to_thread(harness.stack.stop_program, "workers")
    with harness.database() as connection:
        values = {"prefix": f"evt_old_{run}_", "announced": ANNOUNCED, "wanted": wanted}
        connection.execute(_STORE, values)
        row = connection.execute(_PROCESSED).fetchone()
    harness.note("webhooks in the backlog", wanted)
    await _announce(harness, [f"evt_old_{run}_{number}" for number in range(min(ANNOUNCED, wanted))])
    body = json.loads(row[0]) if row else {}
    # Of a type that nobody reads: what tells of a booked payment would not wait for a worker at all.
    new = {**body, "type": "payment_intent.created"}
    news = (json.dumps({**new, "id": f"evt_new_{run}_{number}"}).encode() for number in count())
    for _ in range(BEFORE):
        await _deliver(harness, next(news))

    await asyncio.to_thread(harness.stack.start_program, "workers")
    customers = [asyncio.create_task(load.customer(0.1)) for _ in range(4)]
    await _drain(harness, load, f"evt_old_{run}_", news)
    load.stop()
    await asyncio.gather(*customers)
    await eventually(lambda: _left(harness, f"evt_new_{run}_") == 0)
    _new_ones_did_not_wait(harness, load, wanted, run)
    return load


async def _announce(harness: Harness, ids: Sequence[str]) -> None:
    """Publish messages that name the rows, as the API does when webhooks come."""
    with closing(CeleryQueue(harness.stack.info.broker_url, socket_timeout_s=5)) as queue:
        for start in range(0, len(ids), MESSAGE):
            await queue.publish(Work.STRIPE_EVENTS, ids[start : start + MESSAGE])


async def _deliver(harness: Harness, body: bytes) -> None:
    """Deliver a webhook as Stripe does: once more where it was not taken."""
    headers = {"Stripe-Signature": sign(body, harness.stack.info.stripe_webhook_secret, int(time.time()))}

    async def is_taken() -> bool:
        answer = await harness.api.post("/v1/webhooks/stripe", content=body, headers=headers)
        assert answer.is_success, answer.text
        return True

    await eventually(is_taken)
    harness.note("new webhooks meanwhile")


async def _drain(harness: Harness, load: Load, prefix: str, news: Iterator[bytes]) -> None:
    """Deliver new webhooks until the backlog is gone; neither the broker nor a worker swells meanwhile."""
    deepest = largest = 0
    end = time.monotonic() + DRAIN_S
    with redis.Redis.from_url(harness.stack.info.broker_url) as broker:
        while _left(harness, prefix):
            for _ in range(5):
                await _deliver(harness, next(news))
                await asyncio.sleep(0.05)
            deepest = max(deepest, int(broker.llen(Work.STRIPE_EVENTS)))
            largest = max(
                largest, *(psutil.Process(pid).memory_info().rss for pid in harness.stack.pids("workers"))
            )
            if time.monotonic() > end:
                load.problems.append("the backlog did not drain")
                break
    if deepest > 2 * harness.stack.plan.settings.queue_depth_limit:
        load.problems.append(f"{deepest} messages piled up")
    if largest > MAX_RSS_BYTES:
        load.problems.append(f"a worker grew to {largest / 2**20:.0f} MiB")


def _new_ones_did_not_wait(harness: Harness, load: Load, wanted: int, run: str) -> None:
    """While a new webhook waits, no more of the backlog passes it than the workers had begun, or will at once."""
    settings = harness.stack.plan.settings
    begun = 2 * settings.worker_processes * settings.worker_threads * settings.charge_batch_size
    with harness.database() as connection:
        old = [handled for _, handled in connection.execute(_TIMES, [f"evt_old_{run}_"]).fetchall()]
        new = connection.execute(_TIMES, [f"evt_new_{run}_"]).fetchall()
    passed = [
        bisect_right(old, handled) - bisect_left(old, received)
        for received, handled in new
        if received < median(old)
    ]
    if median(passed) > min(wanted / 2, begun):
        load.problems.append(f"new webhooks waited for {median(passed):.0f} of a backlog of {wanted}")


def _left(harness: Harness, prefix: str) -> int:
    """How many events with such ids wait."""
    return _number(
        harness, "SELECT count(*) FROM stripe_events WHERE due_at IS NOT NULL AND starts_with(id, %s)", prefix
    )


def _processed(harness: Harness) -> int:
    return _number(harness, "SELECT count(*) FROM stripe_events WHERE status = 'processed'")


def _number(harness: Harness, query: str, *values: str) -> int:
    with harness.database() as connection:
        row = connection.execute(query.encode(), values).fetchone()
    return int(row[0]) if row else 0
