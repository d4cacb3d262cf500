"""The cases: each does something terrible to a stack under load, for some rounds; the checking is elsewhere."""

import asyncio
import math
import signal
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
import redis

from tests.eventually import eventually
from tests.faults.database_cases import conflicts, disk_full, out_of_connections
from tests.faults.harness import LATENCY_S, Harness, open_harness
from tests.faults.load import Load
from tests.faults.money_moves import money_moves
from tests.faults.outside_cases import (
    api_hears_no_redis,
    breaker_opens,
    broker_node_restarted,
    clocks_apart,
    no_faketime,
    two_reconcilers,
    wires_cut,
    workers_hear_no_redis,
)
from tests.faults.process_cases import kill_api, rolling_restarts, workers_killed
from tests.faults.steps import accepting_promptly, accepts_promptly, extra_process, under_load, until
from tests.faults.webhook_backlog import webhook_backlog
from tests.faults.worlds import no_mounts, no_rabbitmq, on_rabbitmq, small_disk, wires
from workers.factory import make_celery

World = Callable[[int], AbstractAsyncContextManager[Harness]]

CREATE = "POST /v1/payment_intents"
_SWEEPS_AT_ONCE = 3


@dataclass(frozen=True, slots=True)
class Case:
    """A named case; `rounds` for a short run and for a long one."""

    name: str
    run: Callable[[Harness, int], Awaitable[Load]]
    short: int
    long: int
    world: World = open_harness
    missing: Callable[[], str] = lambda: ""
    """Say what the case needs and this machine has not; nothing when it can run."""


async def lose_redis(harness: Harness, load: Load) -> None:
    """Kill Valkey, flush it, and let it accept and never answer; payments are accepted all the while."""
    with accepting_promptly(load):
        harness.stack.kill("valkey")
        harness.note("valkey killed")
        await accepts_promptly(load)
        await asyncio.to_thread(harness.stack.wait_ready)
        with suppress(redis.RedisError), redis.Redis.from_url(harness.stack.info.broker_url) as client:
            client.flushall()
            harness.note("FLUSHALL")
        with _stopped(harness, "valkey"):
            await accepts_promptly(load)
            await asyncio.sleep(1)


async def kill_postgres(harness: Harness, load: Load) -> None:
    """Kill PostgreSQL; it answers again by itself."""
    harness.stack.kill("postgres")
    harness.note("postgres killed")
    await asyncio.to_thread(harness.stack.wait_ready)
    await load.pay()


async def stripe_trouble(harness: Harness, rounds: int) -> Load:
    """Be slow, cut connections after charging, record errors, throttle; what is slow arrives after all that."""
    async with harness.load(clients=6, paced_s=0.05) as load:
        for _ in range(rounds):
            for effect, rate in (
                (f"delay_ms:{1_000 * LATENCY_S}", 0.1),
                ("drop_after", 1.0),
                ("drop_after", 0.3),
                ("drop_before", 0.5),
                ("error_500", 0.3),
                ("error_500_after", 0.3),
                ("error_429", 0.7),
            ):
                await harness.fault(CREATE, effect, rate=rate)
                await asyncio.sleep(harness.rng.uniform(0.4, 0.9))
                await harness.heal()
            await harness.let_arrive()
            await harness.heal()
    return load


async def late_success(harness: Harness, rounds: int) -> Load:
    """Let payments be given up, and then let their intents succeed at Stripe all the same."""
    load = await harness.customers()
    for _ in range(rounds):
        await harness.fault(CREATE, "error_500")
        given_up = [payment_id for _ in range(6) if (payment_id := await load.pay("pm_card_visa"))]
        await until(
            harness,
            "SELECT count(*) = %s FROM payments WHERE status = 'failed' AND id = ANY(%s)",
            len(given_up),
            [uuid.UUID(payment_id) for payment_id in given_up],
        )
        await harness.heal()
        for payment_id in given_up:
            await _succeed_late(harness, payment_id)
        await until(
            harness,
            "SELECT count(*) = %s FROM payments WHERE captured_minor > 0 AND id = ANY(%s)",
            len(given_up),
            [uuid.UUID(payment_id) for payment_id in given_up],
        )
        harness.note("late success", len(given_up))
    return load


async def webhook_trouble(harness: Harness, rounds: int) -> Load:
    """Drop webhooks, send them five times, shuffle them, before the answer, and days late."""
    async with harness.load(clients=6, paced_s=0.05) as load:
        for _ in range(rounds):
            await harness.fault("*", "webhook_drop", rate=0.3)
            await harness.fault("*", "webhook_duplicate", rate=0.5)
            await harness.fault("*", "webhook_reorder", rate=0.5)
            await asyncio.sleep(0.8)
            await harness.heal()
            await harness.fault(CREATE, "delay_ms:700", rate=0.5)
            await asyncio.sleep(0.8)
            await harness.heal()
            # What happens now is two days old when its webhooks come.
            await harness.fault("*", "webhook_drop")
            (await harness.stripe.post("/_sandbox/clock", json={"offset_s": -2 * 86_400})).raise_for_status()
            await asyncio.sleep(0.8)
            await harness.heal()
            await _redeliver(harness, times=5)
    return load


async def poisonous_row(harness: Harness, rounds: int) -> Load:
    """Let the database refuse one payment of a batch: it is quarantined alone, and its neighbours settle."""
    load = await harness.customers()
    for _ in range(rounds):
        await asyncio.to_thread(harness.stack.stop_program, "workers")
        paid = [payment_id for _ in range(20) if (payment_id := await load.pay("pm_card_visa"))]
        ids = [uuid.UUID(payment_id) for payment_id in paid]
        bad = harness.rng.choice(ids)
        with harness.database(owner=True) as owner:
            owner.execute("ALTER TABLE payments DROP CONSTRAINT IF EXISTS poison")
            owner.execute(
                f"ALTER TABLE payments ADD CONSTRAINT poison CHECK (id <> '{bad}' OR captured_minor = 0)"
            )
            await asyncio.to_thread(harness.stack.start_program, "workers")
            await until(
                harness,
                "SELECT count(*) = %s FROM payments WHERE status = 'succeeded' AND id = ANY(%s)",
                len(ids) - 1,
                ids,
            )
            await until(
                harness, "SELECT count(*) = 1 FROM payments WHERE quarantined_at IS NOT NULL AND id = %s", bad
            )
            owner.execute("ALTER TABLE payments DROP CONSTRAINT poison")
            await _release(owner, bad)
        harness.note("row poisoned")
    return load


async def _release(owner: psycopg.Connection[Any], payment_id: uuid.UUID) -> None:
    """Let a quarantined payment go on, as a person does who has looked at it, until it is settled.

    Its webhook may have been refused as well a moment before, and puts it back into quarantine once more.
    """
    for _ in range(1_200):
        owner.execute(
            "UPDATE payments SET quarantined_at = NULL, quarantine_reason = NULL,"
            " due_at = CASE WHEN captured_minor = 0 THEN now() END,"
            " publish_at = CASE WHEN captured_minor = 0 THEN now() END"
            " WHERE id = %s AND quarantined_at IS NOT NULL",
            [payment_id],
        )
        query = "SELECT status = 'succeeded' AND quarantined_at IS NULL FROM payments WHERE id = %s"
        row = owner.execute(query, [payment_id]).fetchone()
        if row is not None and row[0]:
            return
        await asyncio.sleep(0.05)
    raise TimeoutError(f"payment {payment_id} stays in quarantine")


async def doubled_schedulers(harness: Harness, rounds: int) -> Load:
    """Run a second beat, and ask for sweeps by hand as well, several at the same moment."""
    app = make_celery(harness.stack.info.broker_url, socket_timeout_s=5)
    with extra_process(harness.stack, "beat", "-s", str(harness.stack.layout.var / "beat-2"), "--pidfile="):
        harness.note("second beat")
        async with harness.load(clients=6) as load:
            for _ in range(5 * rounds):
                await asyncio.sleep(0.3)
                for _ in range(_SWEEPS_AT_ONCE):
                    await asyncio.to_thread(app.send_task, "marketflow.sweep")
                harness.note("sweep by hand", _SWEEPS_AT_ONCE)
    return load


async def backlog(harness: Harness, rounds: int) -> Load:
    """Accept with the workers stopped while the sweeper goes on; then drain in order of age."""
    await asyncio.to_thread(harness.stack.stop_program, "workers")
    async with harness.load(clients=24) as load:
        while len(load.accepted) < 1_000 * rounds:
            await asyncio.sleep(0.1)
    harness.note("payments in the backlog", len(load.accepted))
    with extra_process(
        harness.stack, "worker", "-P", "threads", "-c", "2", "-Q", "maintenance", "-n", "sweeper@%h"
    ):
        began = time.monotonic()
        depths = [await _sampled_depth(harness) for _ in range(10)]
        passed_s = time.monotonic() - began
    if max(depths) > min(depths) + _swept(harness, load, min(depths), passed_s) or max(depths) > len(
        load.accepted
    ):
        load.problems.append(f"the sweeper piled messages up within {passed_s:.1f} s: {depths}")
    (await harness.stripe.post("/_sandbox/clock", json={"offset_s": 600})).raise_for_status()
    await asyncio.to_thread(harness.stack.start_program, "workers")
    ids = [uuid.UUID(payment_id) for payment_id in load.accepted.values()]
    await until(harness, "SELECT count(*) = 0 FROM payments WHERE due_at IS NOT NULL AND id = ANY(%s)", ids)
    _drained_in_order(harness, load, ids)
    return load


def _swept(harness: Harness, load: Load, depth: int, passed_s: float) -> float:
    """How many messages the sweeper may add in that time: of every row again as often as it announces it."""
    settings = harness.stack.plan.settings
    if depth >= settings.queue_depth_limit:
        return 0
    of_all_rows = math.ceil(len(load.accepted) / settings.charge_batch_size)
    return of_all_rows * (passed_s / settings.republish_after_s + 1)


def _drained_in_order(harness: Harness, load: Load, ids: list[uuid.UUID]) -> None:
    """The oldest fifth is settled, on the whole, before the youngest; and each row was taken about once."""
    query = """
        SELECT rank() OVER (ORDER BY p.created_at), rank() OVER (ORDER BY e.position), p.attempts
        FROM payments p JOIN events e ON e.subject_id = p.id AND e.type IN ('payment.succeeded', 'payment.failed')
        WHERE p.id = ANY(%s)
    """
    with harness.database() as connection:
        rows = connection.execute(query, [ids]).fetchall()
    fifth = len(rows) / 5
    old = [settled for accepted, settled, _ in rows if accepted <= fifth]
    young = [settled for accepted, settled, _ in rows if accepted > 4 * fifth]
    if sum(old) / len(old) >= sum(young) / len(young):
        load.problems.append("the backlog did not drain in order of age")
    # Where Stripe is slow for a moment, what all workers have in hand is tried again.
    if sum(attempts for _, _, attempts in rows) > 2 * len(rows):
        load.problems.append("the rows of the backlog were taken again and again")


async def _succeed_late(harness: Harness, payment_id: str) -> None:
    """Make the intent of a payment at the sandbox as Stripe would: late, and successful."""
    with harness.database() as connection:
        row = connection.execute("SELECT amount_minor, lower(currency) FROM payments WHERE id = %s", [payment_id])
        amount_minor, currency = row.fetchone() or (0, "usd")
    form = {
        "amount": amount_minor,
        "currency": currency,
        "payment_method": "pm_card_visa",
        "payment_method_types[0]": "card",
        "confirm": "true",
        "metadata[payment_id]": payment_id,
    }
    key = harness.stack.info.stripe_api_key
    answer = await harness.stripe.post(
        "/v1/payment_intents", data=form, headers={"Authorization": f"Bearer {key}"}
    )
    answer.raise_for_status()


async def _redeliver(harness: Harness, *, times: int) -> None:
    """Let the sandbox send its newest events again, and again."""
    headers = {"Authorization": f"Bearer {harness.stack.info.stripe_api_key}"}
    answer = await harness.stripe.get("/v1/events", params={"limit": 100}, headers=headers)
    answer.raise_for_status()
    for event in harness.rng.sample(answer.json()["data"], k=30):
        for _ in range(times):
            (await harness.stripe.post(f"/_sandbox/events/{event['id']}/redeliver")).raise_for_status()
    harness.note("event sent again", 30 * times)


async def _sampled_depth(harness: Harness) -> int:
    await asyncio.sleep(0.3)
    with redis.Redis.from_url(harness.stack.info.broker_url) as client:
        return int(client.llen("charges"))


async def freeze_postgres(harness: Harness, load: Load) -> None:
    """Let PostgreSQL say nothing more, to who is connected or connects: that is told as 503, and soon."""
    before = load.api.refused
    with _stopped(harness, "postgres"):
        await eventually(lambda: load.api.refused > before, 60)
    promised = len(load.accepted)
    await eventually(lambda: len(load.accepted) > promised + 20, 60)


@contextmanager
def _stopped(harness: Harness, program: str) -> Iterator[None]:
    """Freeze a program: it accepts connections and never answers."""
    harness.stack.kill(program, signal.SIGSTOP, children=True)
    harness.note(f"{program} frozen")
    try:
        yield
    finally:
        harness.stack.kill(program, signal.SIGCONT, children=True)


CASES = (
    Case("workers killed", workers_killed, 3, 20),
    Case("api killed", under_load(kill_api), 3, 20),
    Case("redis lost", under_load(lose_redis), 1, 6),
    Case("postgres killed", under_load(kill_postgres), 1, 6),
    Case("postgres frozen", under_load(freeze_postgres), 1, 6),
    Case("stripe trouble", stripe_trouble, 1, 5),
    Case("late success", late_success, 1, 5),
    Case("webhook trouble", webhook_trouble, 1, 5),
    Case("rolling restart", rolling_restarts, 1, 10),
    Case("poisonous row", poisonous_row, 1, 5),
    Case("two sweepers, two beats", doubled_schedulers, 2, 10),
    Case("backlog", backlog, 1, 50),
    Case("webhook queue", webhook_backlog, 1, 50),
    Case("payouts, refunds, reversals", money_moves, 1, 15),
    Case("breaker", breaker_opens, 2, 6),
    Case("out of connections", under_load(out_of_connections), 1, 6),
    Case("conflicting transactions", conflicts, 1, 10),
    Case("two reconcilers", two_reconcilers, 1, 6),
    Case("clocks apart", clocks_apart, 1, 6, missing=no_faketime),
    Case("wires cut", under_load(wires_cut), 3, 30, wires),
    Case("black hole before the api", api_hears_no_redis, 1, 30, wires),
    Case("black hole before the workers", workers_hear_no_redis, 1, 30, wires),
    Case("disk full", disk_full, 1, 5, small_disk, no_mounts),
    Case("broker node restarted", under_load(broker_node_restarted), 1, 5, on_rabbitmq, no_rabbitmq),
)
