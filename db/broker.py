"""The broker: Celery's queues as both edges see them. A message is a hint to look at rows, never the work."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any
from uuid import UUID, uuid4

from amqp.exceptions import AMQPError
from kombu.connection import Connection
from kombu.entity import PERSISTENT_DELIVERY_MODE, Exchange, Queue
from kombu.exceptions import ChannelError, OperationalError
from kombu.messaging import Producer
from redis.exceptions import RedisError

from domain.errors import Unavailable
from domain.work import Work

MAINTENANCE = "maintenance"
"""The queue of the periodic tasks."""
QUEUES = (*(str(work) for work in Work), MAINTENANCE)
"""All queues; a worker that is given none by name listens to all of them."""
EXCHANGE = "marketflow"
ONCE_MORE = {"max_retries": 1, "interval_start": 0}
"""How often and how soon a message is published again, where `retries` says so."""

# What kombu, the transports and their sockets raise when the broker is away; kombu translates not all.
_BROKER_ERRORS = (OperationalError, RedisError, OSError, TimeoutError, AMQPError, ChannelError)
# A quorum of RabbitMQ's nodes holds each queue, so that the end of one node loses no message (ADR 0019).
_QUORUM = {"x-queue-type": "quorum"}
# The third part of a message: what is to be done after the task, which is nothing.
_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}

Envelope = Callable[[str], AbstractContextManager[Mapping[str, str]]]
"""Takes a task's name, yields the headers of its message, and is left when the message is published."""


def _plain_envelope(_: str) -> AbstractContextManager[Mapping[str, str]]:
    return nullcontext({})


def task_name(work: Work) -> str:
    """Return the name of the task that does this work."""
    return f"marketflow.{work}"


def is_redis(broker_url: str) -> bool:
    """Tell Redis from RabbitMQ."""
    return broker_url.startswith("redis")


def exchange_type(broker_url: str) -> str:
    """Return the type of our exchange.

    Quorum queues want a topic exchange. Redis keeps an exchange's bindings in a key of its own, and drops messages
    in silence once that is flushed; "direct" lets messages go straight into the queue.
    """
    return "direct" if is_redis(broker_url) else "topic"


def retries(broker_url: str) -> bool:
    """Tell whether what was not published is tried once more.

    Over AMQP only a second try replaces a connection that was lost; Redis' client does so by itself.
    """
    return not is_redis(broker_url)


def declare_queues(broker_url: str) -> Mapping[str, Queue]:
    """Return our queues by their names, as publishers and consumers declare them alike."""
    exchange = Exchange(EXCHANGE, type=exchange_type(broker_url), durable=True)
    arguments = None if is_redis(broker_url) else _QUORUM
    return {
        name: Queue(name, exchange, routing_key=name, durable=True, queue_arguments=arguments) for name in QUEUES
    }


def transport_options(broker_url: str, socket_timeout_s: float) -> dict[str, object]:
    """Return kombu's options for connections, every wait on which is bounded by `socket_timeout_s`."""
    if not is_redis(broker_url):
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


class _Line:
    """A connection for one thread, made anew after whatever failed on it."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        """Keep what makes a connection; nothing connects before it is used."""
        self._connect = connect
        self._connection: Connection | None = connect()

    @contextmanager
    def open(self) -> Iterator[Connection]:
        """Lend the connection."""
        connection = self._connection = self._connection or self._connect()
        try:
            yield connection
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            poller = getattr(getattr(connection.transport, "cycle", None), "poller", None)
            with suppress(Exception):  # it is of no use any more, whatever it has to say
                connection.release()
            if poller is not None:
                # NOTE: of Redis' transport, which leaves it in a cycle: while the broker is away, each message
                # would cost a file until a search for cycles, which is rare.
                poller.close()


class CeleryQueue:
    """`domain.settlement.ports.WorkQueue` of Celery's tasks; one thread publishes: the event loop never waits.

    PERF: it writes Celery's messages itself (message protocol 2) and lets kombu publish them, since an application
    of Celery is 4 MiB of what an API process holds (ADR 0030).
    """

    def __init__(self, broker_url: str, *, socket_timeout_s: float, envelope: Envelope = _plain_envelope) -> None:
        """Keep where to publish, how long to wait for the broker, and what gives a message its headers.

        Publishing gives up soon, because a lost message costs only time.
        """
        self._url = broker_url
        self._timeout_s = socket_timeout_s
        self._envelope = envelope
        self._queues = declare_queues(broker_url)
        self._direct = exchange_type(broker_url) == "direct"
        # Its transport is imported here: done before a fork, the processes share that memory.
        transport = self._connect().transport
        self._errors = (*_BROKER_ERRORS, *transport.connection_errors, *transport.channel_errors)
        self._publishing = _Line(self._connect)
        # PERF: one connection for all counts, since a new one costs several milliseconds.
        self._counting = _Line(self._connect)
        self._is_closed = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="publish")

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
        """End the thread and its connections, once what it is doing is done; what waits for it fails."""
        if not self._is_closed:
            self._is_closed = True
            self._thread.submit(self._end)  # there, since a connection is not for two threads at once
            self._thread.shutdown(wait=False)

    def _connect(self) -> Connection:
        return Connection(
            self._url,
            connect_timeout=self._timeout_s,
            transport_options=transport_options(self._url, self._timeout_s),
        )

    def _end(self) -> None:
        self._publishing.close()
        self._counting.close()

    async def _in_thread(self, call: Callable[[], int]) -> int:
        def unless_closed() -> int:
            if self._is_closed:
                raise OperationalError("this queue is closed")
            return call()

        try:
            if self._is_closed:
                return unless_closed()
            return await asyncio.get_running_loop().run_in_executor(self._thread, unless_closed)
        except self._errors as error:
            raise Unavailable("the broker is out of reach", code="broker_unavailable") from error

    def _send(self, work: Work, ids: Sequence[str]) -> int:
        queue = self._queues[str(work)]
        task_id = str(uuid4())
        with self._envelope(task_name(work)) as headers, self._publishing.open() as connection:
            Producer(connection).publish(
                ([ids], {}, _EMBED),
                exchange="" if self._direct else EXCHANGE,
                routing_key=queue.name,
                declare=[queue],
                headers={**self._headers(work, task_id, ids), **headers},
                correlation_id=task_id,
                reply_to="",
                serializer="json",
                delivery_mode=PERSISTENT_DELIVERY_MODE,
                retry=retries(self._url),
                retry_policy=ONCE_MORE,
                confirm_timeout=self._timeout_s,
            )
        return len(ids)

    def _headers(self, work: Work, task_id: str, ids: Sequence[str]) -> dict[str, Any]:
        """Return the headers of a task's message (Celery's manual: "Message Protocol", version 2)."""
        return {
            "lang": "py",
            "task": task_name(work),
            "id": task_id,
            "root_id": task_id,
            "parent_id": None,
            "group": None,
            "group_index": None,
            "shadow": None,
            "eta": None,
            "expires": None,
            "retries": 0,
            "timelimit": [None, None],
            # Flower shows this. Celery's own text ends after twenty-five ids.
            "argsrepr": f"[{', '.join(ids)}]",
            "kwargsrepr": "{}",
            "origin": f"gen{os.getpid()}@{socket.gethostname()}",
            "ignore_result": True,
            "replaced_task_nesting": 0,
            "stamped_headers": None,
            "stamps": {},
        }

    def _count(self, name: str) -> int:
        with self._counting.open() as connection:
            try:
                return int(connection.default_channel.queue_declare(name, passive=True).message_count)
            except ChannelError:
                if not is_redis(self._url):
                    self._counting.close()  # it is of no use any more
                return 0  # Redis has no empty queues, and RabbitMQ only those that somebody has declared
