"""The broker is a hint: publishing is bounded, what it does not take is counted, and nothing fails."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from redis import Redis

from db.announcer import GatheringAnnouncer
from db.broker import CeleryQueue, make_celery
from domain.errors import Unavailable
from domain.work import Work
from tests.domain.fakes import FakeQueue

SOCKET_TIMEOUT_S = 0.2
BOUND_S = 60.0
"""Less than the minutes that the libraries wait by default, and far more than a busy machine takes."""


def messages(app: Celery, work: Work) -> list[tuple[str, list[Any]]]:
    """Take everything out of a queue: the tasks and their first arguments, oldest first."""
    found = []
    declared = next(queue for queue in app.conf.task_queues if queue.name == str(work))
    with app.connection_for_read() as connection:
        queue = declared.bind(connection.default_channel)
        while (message := queue.get(no_ack=True)) is not None:
            found.append((message.headers["task"], message.payload[0][0]))
    return found


@pytest.fixture
def silent(silent_port: int) -> Iterator[CeleryQueue]:
    """A queue on a broker that accepts and never answers."""
    queue = CeleryQueue(make_celery(f"redis://127.0.0.1:{silent_port}/1", socket_timeout_s=SOCKET_TIMEOUT_S))
    yield queue
    queue.close()


async def test_message_names_the_task_and_its_rows(broker: Celery, queue: CeleryQueue) -> None:
    ids = [uuid4(), uuid4()]

    await queue.publish(Work.CHARGES, ids)

    assert messages(broker, Work.CHARGES) == [("marketflow.charges", [str(row_id) for row_id in ids])]


async def test_each_work_has_a_queue_of_its_own(broker: Celery, queue: CeleryQueue) -> None:
    for work in Work:
        await queue.publish(work, ["a"])

    assert [messages(broker, work) for work in Work] == [[(f"marketflow.{work}", ["a"])] for work in Work]


async def test_depth_counts_waiting_messages(queue: CeleryQueue) -> None:
    assert await queue.depth(Work.CHARGES) == 0

    for _ in range(3):
        await queue.publish(Work.CHARGES, ["a", "b"])

    assert await queue.depth(Work.CHARGES) == 3
    assert await queue.depth(Work.REFUNDS) == 0


async def test_publishing_to_a_silent_broker_ends_within_a_bound(silent: CeleryQueue) -> None:
    started = time.monotonic()

    with pytest.raises(Unavailable) as raised:
        await silent.publish(Work.CHARGES, ["a"])

    assert raised.value.code == "broker_unavailable"
    assert time.monotonic() - started < BOUND_S


async def test_depth_of_a_silent_broker_is_unavailable(silent: CeleryQueue) -> None:
    with pytest.raises(Unavailable):
        await silent.depth(Work.CHARGES)


async def test_absent_broker_is_unavailable(closed_port: int) -> None:
    queue = CeleryQueue(make_celery(f"redis://127.0.0.1:{closed_port}/1", socket_timeout_s=SOCKET_TIMEOUT_S))

    with pytest.raises(Unavailable):
        await queue.publish(Work.CHARGES, ["a"])

    queue.close()


async def test_lost_announcements_are_counted(silent: CeleryQueue) -> None:
    lost: list[int] = []
    announcer = GatheringAnnouncer(silent, batch_size=2, on_lost=lost.append)

    announcer.announce(Work.CHARGES, ["a", "b", "c"])
    await announcer.drain()

    assert lost == [3]


async def test_announcements_gather_into_one_message(broker: Celery, queue: CeleryQueue) -> None:
    announcer = GatheringAnnouncer(queue, batch_size=10, on_lost=pytest.fail)

    for row_id in ("a", "b", "c"):
        announcer.announce(Work.CHARGES, [row_id])
    await announcer.drain()

    assert messages(broker, Work.CHARGES) == [("marketflow.charges", ["a", "b", "c"])]


async def test_many_announcements_within_a_moment_wait_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("db.announcer._GATHER_S", 0.0)
    monkeypatch.setattr("db.announcer._BUSY_GATHER_S", 3_600.0)
    queue = FakeQueue()
    announcer = GatheringAnnouncer(queue, batch_size=100, on_lost=pytest.fail)
    announcer.announce(Work.CHARGES, ["first"])
    await announcer.drain()

    announcer.announce(Work.CHARGES, ["many"] * 8)
    for _ in range(10):
        await asyncio.sleep(0)
    announcer.announce(Work.CHARGES, ["more"])
    # The moment is an hour long, so that it does not end while the machine stands still, and then over.
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "time", lambda: time.monotonic() + 3_600)
    await announcer.drain()

    assert queue.messages[Work.CHARGES] == [["first"], [*["many"] * 8, "more"]]


async def test_message_holds_no_more_than_a_batch(broker: Celery, queue: CeleryQueue) -> None:
    announcer = GatheringAnnouncer(queue, batch_size=2, on_lost=pytest.fail)

    announcer.announce(Work.CHARGES, ["a", "b", "c"])
    announcer.announce(Work.REFUNDS, ["d"])
    await announcer.drain()

    assert [ids for _, ids in messages(broker, Work.CHARGES)] == [["a", "b"], ["c"]]
    assert [ids for _, ids in messages(broker, Work.REFUNDS)] == [["d"]]


async def test_announcements_beyond_the_memory_are_dropped(broker: Celery, queue: CeleryQueue) -> None:
    lost: list[int] = []
    announcer = GatheringAnnouncer(queue, batch_size=50_000, on_lost=lost.append)

    announcer.announce(Work.CHARGES, ["a"] * 50_000)
    announcer.announce(Work.CHARGES, ["b"] * 7)
    await announcer.drain()

    assert lost == [7]
    assert [len(ids) for _, ids in messages(broker, Work.CHARGES)] == [50_000]


async def test_queue_that_nobody_empties_takes_no_more(
    broker: Celery, queue: CeleryQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.announcer._MAX_DEPTH", 2)
    monkeypatch.setattr("db.announcer._DEPTH_S", 0.0)
    lost: list[int] = []
    announcer = GatheringAnnouncer(queue, batch_size=1, on_lost=lost.append)

    async def announce(row_id: str) -> None:
        announcer.announce(Work.CHARGES, [row_id])
        await announcer.drain()

    for row_id in ("a", "b", "c", "d"):
        await announce(row_id)

    assert lost == [1, 1]
    assert [ids for _, ids in messages(broker, Work.CHARGES)] == [["a"], ["b"]]
    await announce("e")  # finds out that there is room again
    await announce("f")
    assert lost == [1, 1, 1]
    assert [ids for _, ids in messages(broker, Work.CHARGES)] == [["f"]]


def test_drain_of_nothing_is_done(queue: CeleryQueue) -> None:
    asyncio.run(GatheringAnnouncer(queue, batch_size=1, on_lost=pytest.fail).drain())


@pytest.mark.parametrize("url", ["amqp://guest@localhost//", "redis://localhost/1"])
def test_publisher_and_worker_declare_the_same_queues(url: str) -> None:
    def declared(app: Celery) -> list[tuple[object, ...]]:
        return [(q.name, q.exchange.name, q.exchange.type, q.routing_key, q.durable) for q in app.conf.task_queues]

    publisher, worker = make_celery(url, socket_timeout_s=1.0), make_celery(url, socket_timeout_s=5.0)

    assert declared(publisher) == declared(worker)
    assert {name for name, *_ in declared(worker)} == {*Work, "maintenance"}


async def test_broker_that_was_emptied_takes_messages_again(
    broker: Celery, queue: CeleryQueue, broker_url: str
) -> None:
    await queue.publish(Work.CHARGES, ["a"])
    with Redis.from_url(broker_url) as client:
        client.flushdb()

    await queue.publish(Work.CHARGES, ["b"])

    assert await queue.depth(Work.CHARGES) == 1


def test_publisher_of_amqp_waits_for_the_brokers_word() -> None:
    options = make_celery("amqp://guest@localhost//", socket_timeout_s=1.0).conf.broker_transport_options

    assert options["confirm_publish"] is True
