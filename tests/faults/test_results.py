"""While the API, a worker and Redis are killed, everybody who waits learns the true end, as often as promised."""

import asyncio
import os
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import httpx
import psutil
import pytest

from api.client import SETTLED, Client, Payment, Retry
from tests.eventually import eventually
from tests.faults.harness import Harness, open_harness
from tests.faults.receiver import Receiver, open_receiver
from tests.faults.sessions import log_in_new

pytestmark = pytest.mark.usefixtures("unmeasured")

BUYERS = 13
PAYMENTS_EACH = 16
"""So many endpoints may a user have; together two hundred clients wait in each way, and a few more."""
DEADLINE_S = 120.0
_PATIENT = Retry(for_s=60.0, base_s=0.05, cap_s=0.5)
"""On a busy machine the API takes a while to come back."""
CARDS = ("pm_card_visa", "pm_card_visa", "pm_card_chargeDeclined")
ENDS = {f"payment.{status}" for status in SETTLED}
WEBHOOKS = {
    # A worker that is killed leaves its deliveries to the next attempt.
    "MARKETFLOW_WEBHOOK_SCHEDULE_S": "0,0.5,1,2,5,10,20,30,60",
    "MARKETFLOW_WEBHOOK_TIMEOUT_S": "5",
}


@dataclass
class Buyer:
    """A customer with payments that are accepted and not charged."""

    client: Client
    payments: list[str] = field(default_factory=list)


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    async with open_harness(20_261_126, {"MARKETFLOW_STREAM_HEARTBEAT_S": "1", **WEBHOOKS}) as harness:
        yield harness


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with open_receiver() as receiver:
        yield receiver


@pytest.fixture
async def http(harness: Harness) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    async with httpx.AsyncClient(base_url=harness.stack.info.api, timeout=10, limits=limits) as http:
        yield http


async def poll(client: Client, payment_id: str) -> str:
    while (payment := await client.payments.get(payment_id))["status"] not in SETTLED:
        await asyncio.sleep(0.5)
    return payment["status"]


async def long_poll(client: Client, payment_id: str) -> str:
    return str((await client.payments.wait(payment_id, timeout_s=DEADLINE_S))["status"])


async def follow(
    client: Client, payment_ids: Sequence[str], opened: asyncio.Semaphore
) -> Counter[tuple[str, str]]:
    """Follow until every payment has ended, and count how often one hears of each end."""
    heard: Counter[tuple[str, str]] = Counter()
    stream = client.events()
    async with stream:
        telling = asyncio.create_task(stream.opened())
        telling.add_done_callback(lambda _: opened.release())
        async for event in stream:
            if event["subject_id"] in payment_ids and event["type"] in ENDS:
                heard[event["subject_id"], event["type"].partition(".")[2]] += 1
            if {subject for subject, _ in heard} == set(payment_ids):
                return heard
    raise AssertionError("the stream ended")


async def accepted(http: httpx.AsyncClient, harness: Harness) -> list[Buyer]:
    """Let buyers pay while no worker runs."""
    seller = Client("", http=http, retry=_PATIENT)
    seller_id = await log_in_new(seller, "seller")
    buyers = [Buyer(Client("", http=http, retry=_PATIENT)) for _ in range(BUYERS)]
    for number, buyer in enumerate(buyers):
        await log_in_new(buyer.client, "buyer")
        made: list[Payment] = await asyncio.gather(
            *(
                buyer.client.payments.pay_seller(seller_id, 1999, "USD", CARDS[(number + each) % len(CARDS)])
                for each in range(PAYMENTS_EACH)
            )
        )
        buyer.payments = [payment["id"] for payment in made]
    return buyers


async def injure(harness: Harness) -> None:
    """Kill a process of the API, a worker and Redis while payments are settled; then the API's master too."""
    stack = harness.stack
    masters = stack.pids("api")
    for program in ("api", "workers", "valkey", "api", "workers"):
        if program == "valkey":
            stack.kill("valkey")
        elif program == "workers":
            os.kill(harness.rng.choice(stack.pids("workers")), signal.SIGKILL)
        else:
            children = [child.pid for pid in masters for child in psutil.Process(pid).children()]
            os.kill(harness.rng.choice(children), signal.SIGKILL)
        await asyncio.sleep(0.5)
    for pid in stack.pids("api"):
        os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(stack.wait_ready)


async def test_everybody_who_waits_learns_the_true_end(
    harness: Harness, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    await asyncio.to_thread(harness.stack.stop_program, "workers")
    buyers = await accepted(http, harness)
    paths = [[await receiver.register(buyer.client, sorted(ENDS)) for _ in buyer.payments] for buyer in buyers]
    opened = asyncio.Semaphore(0)
    followers = [
        asyncio.create_task(follow(buyer.client, buyer.payments, opened))
        for buyer in buyers
        for _ in buyer.payments
    ]
    async with asyncio.timeout(DEADLINE_S):
        for _ in followers:
            await opened.acquire()
    waiting = {
        way.__name__: [asyncio.create_task(way(buyer.client, each)) for buyer in buyers for each in buyer.payments]
        for way in (poll, long_poll)
    }

    await asyncio.to_thread(harness.stack.start_program, "workers")
    await injure(harness)

    async with asyncio.timeout(DEADLINE_S):
        learnt = {way: await asyncio.gather(*tasks) for way, tasks in waiting.items()}
        heard = await asyncio.gather(*followers)
    truth = await eventually(lambda: ends(harness, buyers))
    everything = [each for buyer in buyers for each in buyer.payments]
    # Who asks learns it once; on a stream each end comes once; a webhook comes at least once, and says when again.
    for way, statuses in learnt.items():
        assert dict(zip(everything, statuses, strict=True)) == truth, way
    for number, counted in enumerate(heard):
        mine = buyers[number // PAYMENTS_EACH].payments
        assert counted == Counter({(each, truth[each]): 1 for each in mine})
    for buyer, own in zip(buyers, paths, strict=True):
        mine = sorted((each, f"payment.{truth[each]}") for each in buyer.payments)
        for path in own:
            await eventually(lambda: len(receiver.heard[path]) >= len(mine), DEADLINE_S)  # noqa: B023 - awaited here
            assert sorted(receiver.heard[path].values()) == mine


def ends(harness: Harness, buyers: list[Buyer]) -> dict[str, str]:
    ids = [uuid.UUID(each) for buyer in buyers for each in buyer.payments]
    with harness.database() as connection:
        rows = connection.execute("SELECT id::text, status FROM payments WHERE id = ANY(%s)", [ids]).fetchall()
    return dict(rows)
