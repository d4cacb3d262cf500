"""RabbitMQ as the broker: quorum queues, and a publisher that waits for the broker's word, but not for ever."""

import time
from collections.abc import Iterator

import pytest
from celery import Celery
from kombu import Connection

from db.broker import QUEUES, CeleryQueue
from domain.errors import Unavailable
from domain.work import Work
from tests.rabbitmq import PARTS, RabbitNode
from workers.factory import make_celery

BOUND_S = 60.0
"""Far less than for ever, which is how long the library waits by default."""


@pytest.fixture
def rabbit_app(rabbitmq: RabbitNode) -> Iterator[Celery]:
    app = make_celery(rabbitmq.url(PARTS), socket_timeout_s=60.0)
    yield app
    app.close()


@pytest.fixture
def rabbit_queue(rabbitmq: RabbitNode) -> Iterator[CeleryQueue]:
    queue = CeleryQueue(rabbitmq.url(PARTS), socket_timeout_s=60.0)
    yield queue
    queue.close()


@pytest.fixture
def silent(silent_port: int) -> Iterator[CeleryQueue]:
    """A queue on a broker that accepts connections and never says a word."""
    queue = CeleryQueue(f"amqp://guest:guest@127.0.0.1:{silent_port}//", socket_timeout_s=0.2)
    yield queue
    queue.close()


def purged(url: str, work: Work) -> int:
    """Empty the queue; return how many messages waited in it."""
    with Connection(url) as connection:
        return int(connection.default_channel.queue_purge(str(work)))


def test_every_queue_is_held_by_a_quorum(rabbit_app: Celery) -> None:
    arguments = {name: queue.queue_arguments for name, queue in rabbit_app.amqp.queues.items()}

    assert arguments == {name: {"x-queue-type": "quorum"} for name in QUEUES}


async def test_message_is_in_its_queue_when_publishing_returns(
    rabbitmq: RabbitNode, rabbit_queue: CeleryQueue
) -> None:
    # The first message declares the queue; the broker refuses one that stands there as another type.
    await rabbit_queue.publish(Work.REFUNDS, ["a"])
    purged(rabbitmq.url(PARTS), Work.REFUNDS)

    await rabbit_queue.publish(Work.REFUNDS, ["a", "b"])

    assert purged(rabbitmq.url(PARTS), Work.REFUNDS) == 1


async def test_queue_that_nobody_declared_is_empty(rabbit_queue: CeleryQueue, rabbitmq: RabbitNode) -> None:
    with Connection(rabbitmq.url(PARTS)) as connection:
        connection.default_channel.queue_delete(str(Work.REFUNDS))

    assert await rabbit_queue.depth(Work.REFUNDS) == 0


async def test_silent_broker_holds_nobody_for_long(silent: CeleryQueue) -> None:
    started = time.monotonic()

    for call in (silent.publish(Work.CHARGES, ["a"]), silent.depth(Work.CHARGES)):
        with pytest.raises(Unavailable) as raised:
            await call
        assert raised.value.code == "broker_unavailable"

    assert time.monotonic() - started < BOUND_S
