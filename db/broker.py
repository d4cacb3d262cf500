"""The broker: Celery's queues as both edges see them. A message is a hint to look at rows, never the work."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from uuid import UUID

from amqp.exceptions import AMQPError
from celery import Celery
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.exceptions import ChannelError, OperationalError
from redis.exceptions import RedisError

from domain.errors import Unavailable
from domain.work import Work

MAINTENANCE = "maintenance"
"""The queue of the periodic tasks."""
QUEUES = (*(str(work) for work in Work), MAINTENANCE)
"""All queues; a worker that is given none by name listens to all of them."""

# What Celery, kombu, the transports and their sockets raise when the broker is away; kombu translates not all.
_BROKER_ERRORS = (OperationalError, RedisError, OSError, TimeoutError, AMQPError, ChannelError)
# A quorum of RabbitMQ's nodes holds each queue, so that the end of one node loses no message (ADR 0019).
_QUORUM = {"x-queue-type": "quorum"}

Envelope = Callable[[str], AbstractContextManager[Mapping[str, str]]]
"""Takes a task's name, yields the headers of its message, and is left when the message is published."""


def _plain_envelope(_: str) -> AbstractContextManager[Mapping[str, str]]:
    return nullcontext({})


def task_name(work: Work) -> str:
    """Return the name of the task that does this work."""
    return f"marketflow.{work}"


def make_celery(broker_url: str, *, socket_timeout_s: float) -> Celery:
    """Return a Celery application with our queues, for publishing and for consuming alike.

    `socket_timeout_s` bounds every wait for the broker. A consumer needs more of it than a publisher, since it
    waits for messages on the same socket. Publishing gives up soon, because a lost message costs only time.
    """
    # PERF: the fixup for Django has whoever publishes import all that Celery's workers consist of.
    app = Celery("marketflow", broker=broker_url, set_as_current=False, fixups=())
    # Quorum queues want a topic exchange. Redis keeps an exchange's bindings in a key of its own, and drops
    # messages in silence once that is flushed; "direct" makes Celery put messages straight into the queue.
    on_redis = broker_url.startswith("redis")
    exchange_type, arguments = ("direct", None) if on_redis else ("topic", _QUORUM)
    exchange = Exchange("marketflow", type=exchange_type, durable=True)
    app.conf.update(
        task_queues=[
            Queue(name, exchange, routing_key=name, durable=True, queue_arguments=arguments) for name in QUEUES
        ],
        task_default_queue=MAINTENANCE,
        task_default_exchange="marketflow",
        task_default_exchange_type=exchange_type,
        task_default_routing_key=MAINTENANCE,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        # Over AMQP only a second try replaces a connection that was lost; Redis' client does so by itself.
        task_publish_retry=not on_redis,
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0},
        broker_connection_timeout=socket_timeout_s,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=_transport_options(broker_url, socket_timeout_s),
        # No task of ours waits in the broker, but with quorum queues a worker declares 28 queues for delayed ones.
        broker_native_delayed_delivery_queue_type="classic",
        task_serializer="json",
        accept_content=["json"],
        enable_utc=True,
    )
    return app


def _transport_options(broker_url: str, socket_timeout_s: float) -> dict[str, object]:
    if not broker_url.startswith("redis"):
        return {
            "confirm_publish": True,
            "read_timeout": socket_timeout_s,
            "write_timeout": socket_timeout_s,
            "max_retries": 0,
        }
    return {
        "visibility_timeout": 300,
        "socket_timeout": socket_timeout_s,
        "socket_connect_timeout": socket_timeout_s,
        "socket_keepalive": True,
        # A consumer whose connection died silently listens again after some eleven seconds, not fifty.
        "health_check_interval": 5,
        "max_retries": 0,
    }


class CeleryQueue:
    """`domain.settlement.ports.WorkQueue`; one thread publishes, so that the event loop never waits."""

    def __init__(self, app: Celery, *, envelope: Envelope = _plain_envelope) -> None:
        """Keep the application and what gives a message its headers. One thread means one connection."""
        self._app = app
        self._envelope = envelope
        self._on_redis = str(app.conf.broker_url).startswith("redis")
        self._counting: Connection | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="publish")
        _import_parts(app)

    async def publish(self, work: Work, ids: Sequence[UUID | str]) -> None:
        """Publish one message that names those rows. Errors: Unavailable `broker_unavailable`."""
        plain = [str(row_id) for row_id in ids]
        await self._in_thread(lambda: self._send(work, plain))

    async def depth(self, work: Work) -> int:
        """Return how many messages wait. Errors: Unavailable `broker_unavailable`."""
        return await self.depth_of(str(work))

    async def depth_of(self, name: str) -> int:
        """Return how many messages wait in that one of `QUEUES`. Errors: Unavailable `broker_unavailable`."""
        return await self._in_thread(lambda: self._count(name))

    def close(self) -> None:
        """End the thread and its connections."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._end_counting()
        self._app.close()

    async def _in_thread(self, call: Callable[[], int]) -> int:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, call)
        except _BROKER_ERRORS as error:
            raise Unavailable("the broker is out of reach", code="broker_unavailable") from error

    def _send(self, work: Work, ids: Sequence[str]) -> int:
        name = task_name(work)
        with self._envelope(name) as headers:
            self._app.send_task(
                name,
                args=[ids],
                queue=str(work),
                headers=dict(headers),
                ignore_result=True,
                # Flower shows this. Celery's own text ends after twenty-five ids.
                argsrepr=f"[{', '.join(ids)}]",
                confirm_timeout=self._app.conf.broker_connection_timeout,
            )
        return len(ids)

    def _count(self, name: str) -> int:
        # PERF: one connection for all counts, since a new one costs several milliseconds.
        if self._counting is None:
            self._counting = self._app.connection_for_write()
        try:
            return int(self._counting.default_channel.queue_declare(name, passive=True).message_count)
        except ChannelError:
            if not self._on_redis:
                self._end_counting()  # it is of no use any more
            return 0  # Redis has no empty queues, and RabbitMQ only those that somebody has declared
        except _BROKER_ERRORS:
            self._end_counting()
            raise

    def _end_counting(self) -> None:
        connection, self._counting = self._counting, None
        if connection is not None:
            with suppress(*_BROKER_ERRORS):
                connection.release()


def _import_parts(app: Celery) -> None:
    """Import now what Celery imports at its first use: done before a fork, the processes share that memory."""
    app.finalize()
    _ = app.amqp.queues, app.connection_for_write().transport, app.events.Dispatcher
