"""The broker is a hint: publishing is bounded, what it does not take is counted, and nothing fails."""

import asyncio
import gc
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import NoneType
from typing import Any
from unittest.mock import Mock
from uuid import uuid4

import pytest
from celery import Celery
from kombu import Connection, Queue
from redis import Redis

from db.announcer import GatheringAnnouncer
from db.broker import CeleryQueue, declare_queues, transport_options
from domain.errors import Unavailable
from domain.work import Work
from tests.domain.fakes import FakeQueue
from workers.factory import make_celery

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


def written(app: Celery, work: Work) -> tuple[dict[str, Any], str]:
    """Take the one message out of a queue: all that is in it but its task's id and its delivery, and the id."""
    declared = next(queue for queue in app.conf.task_queues if queue.name == str(work))
    with app.connection_for_read() as connection:
        queue = declared.bind(connection.default_channel)
        message = queue.get(no_ack=True)
        assert queue.get(no_ack=True) is None
    task_id = str(message.headers["id"])
    assert (message.headers["root_id"], message.properties["correlation_id"]) == (task_id, task_id)
    of_each = {"id", "root_id", "correlation_id", "delivery_tag", "delivery_info"}
    return {
        "headers": {name: value for name, value in message.headers.items() if name not in of_each},
        "properties": {name: value for name, value in message.properties.items() if name not in of_each},
        "to": message.delivery_info,
        "body": message.payload,
        "written as": (message.content_type, message.content_encoding),
    }, task_id


@pytest.fixture
def silent(silent_port: int) -> Iterator[CeleryQueue]:
    """A queue on a broker that accepts and never answers."""
    queue = CeleryQueue(f"redis://127.0.0.1:{silent_port}/1", socket_timeout_s=SOCKET_TIMEOUT_S)
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
    queue = CeleryQueue(f"redis://127.0.0.1:{closed_port}/1", socket_timeout_s=SOCKET_TIMEOUT_S)

    with pytest.raises(Unavailable):
        await queue.publish(Work.CHARGES, ["a"])

    queue.close()


async def test_message_that_was_not_taken_costs_no_file(closed_port: int) -> None:
    queue = CeleryQueue(f"redis://127.0.0.1:{closed_port}/1", socket_timeout_s=SOCKET_TIMEOUT_S)

    async def publish(times: int) -> int:
        for _ in range(times):
            with pytest.raises(Unavailable):
                await queue.publish(Work.CHARGES, [uuid4()])
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - numbers, of no directory

    gc.disable()
    try:
        assert await publish(5) == await publish(1)
    finally:
        gc.enable()
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


async def test_queue_goes_on_after_a_failure_that_nobody_foresaw(
    broker: Celery, queue: CeleryQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Connection] = []
    establish = Connection._establish_connection

    def established(connection: Connection) -> object:
        made.append(connection)
        return establish(connection)

    monkeypatch.setattr(Connection, "_establish_connection", established)
    with monkeypatch.context() as patch:
        patch.setattr("kombu.transport.redis.Channel._put", Mock(side_effect=KeyError("bindings")))
        patch.setattr("kombu.connection.Connection._close", Mock(side_effect=RuntimeError("no end")))
        with pytest.raises(Unavailable):
            await queue.publish(Work.CHARGES, ["a"])

    await queue.publish(Work.CHARGES, ["b"])

    failed, another = made
    assert failed is not another, "what something failed on is not used again"
    assert messages(broker, Work.CHARGES) == [("marketflow.charges", ["b"])]


async def test_closing_leaves_who_publishes_in_peace(broker: Celery, broker_url: str) -> None:
    for _ in range(20):
        queue = CeleryQueue(broker_url, socket_timeout_s=60.0)
        calls = [queue.publish(Work.CHARGES, ["a"]), queue.depth(Work.CHARGES), queue.publish(Work.CHARGES, ["b"])]
        answers = asyncio.gather(*calls, return_exceptions=True)
        await asyncio.sleep(0.001)
        queue.close()
        queue.close()

        assert {type(answer) for answer in await answers} <= {NoneType, int, Unavailable}
        with pytest.raises(Unavailable):
            await queue.publish(Work.CHARGES, ["c"])


def test_drain_of_nothing_is_done(queue: CeleryQueue) -> None:
    asyncio.run(GatheringAnnouncer(queue, batch_size=1, on_lost=pytest.fail).drain())


@pytest.mark.parametrize("url", ["amqp://guest@localhost//", "redis://localhost/1"])
def test_publisher_and_worker_declare_the_same_queues(url: str) -> None:
    def described(queues: Iterable[Queue]) -> list[tuple[object, ...]]:
        return [(q.name, q.exchange.name, q.exchange.type, q.routing_key, q.durable) for q in queues]

    worker = described(make_celery(url, socket_timeout_s=5.0).amqp.queues.values())

    assert described(declare_queues(url).values()) == worker
    assert {name for name, *_ in worker} == {*Work, "maintenance"}


async def test_message_is_as_celery_itself_would_write_it(broker: Celery, queue: CeleryQueue) -> None:
    broker.send_task("marketflow.charges", args=[["a"]], queue=str(Work.CHARGES), ignore_result=True)
    expected, expected_id = written(broker, Work.CHARGES)

    await queue.publish(Work.CHARGES, ["a"])
    ours, our_id = written(broker, Work.CHARGES)

    assert ours == {
        **expected,
        "headers": {**expected["headers"], "argsrepr": "[a]"},
        "properties": {**expected["properties"], "reply_to": ""},  # nobody waits for an answer
    }
    assert our_id != expected_id


async def test_message_bears_what_its_envelope_gives(broker: Celery, broker_url: str) -> None:
    published: list[str] = []

    @contextmanager
    def envelope(task: str) -> Iterator[dict[str, str]]:
        yield {"traceparent": "00-1-2-01"}
        published.append(task)

    queue = CeleryQueue(broker_url, socket_timeout_s=60.0, envelope=envelope)
    await queue.publish(Work.CHARGES, ["a"])
    queue.close()

    assert written(broker, Work.CHARGES)[0]["headers"]["traceparent"] == "00-1-2-01"
    assert published == ["marketflow.charges"]


async def test_broker_that_was_emptied_takes_messages_again(
    broker: Celery, queue: CeleryQueue, broker_url: str
) -> None:
    await queue.publish(Work.CHARGES, ["a"])
    with Redis.from_url(broker_url) as client:
        client.flushdb()

    await queue.publish(Work.CHARGES, ["b"])

    assert await queue.depth(Work.CHARGES) == 1


def test_publisher_of_amqp_waits_for_the_brokers_word() -> None:
    assert transport_options("amqp://guest@localhost//", 1.0)["confirm_publish"] is True
