"""Word between processes of what changed, over Redis' publish and subscribe.

A hint, as the broker's messages are: whoever waits for a change also looks for itself now and then.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from uuid import UUID

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

CHANNEL = "marketflow.changes"

_ID_BYTES = 16
_MAX_IDS = 8_192
# PERF: a message for a few milliseconds' changes costs what a message for one of them does.
_GATHER_S = 0.02
_RETRY_S = 0.5
_QUIET_S = 5.0
_REDIS_ERRORS = (RedisError, OSError, TimeoutError)

log = structlog.get_logger(__name__)


class ChangePublisher:
    """Tells every process which subjects changed. Best effort and bounded: what Redis does not take is lost."""

    def __init__(self, redis: Redis, *, on_lost: Callable[[int], None]) -> None:
        """Keep the client, and whom to tell how many changes went untold."""
        self._redis = redis
        self._on_lost = on_lost
        self._gathered: set[UUID] = set()
        self._publisher: asyncio.Task[None] | None = None

    def publish(self, subject_ids: Iterable[UUID]) -> None:
        """Hand over ids to be published: the first at once, those that follow it together a little later.

        Neither waits nor fails.
        """
        self._gathered.update(subject_ids)
        if len(self._gathered) > _MAX_IDS:
            self._lose(self._gathered)
        elif self._gathered and (self._publisher is None or self._publisher.done()):
            self._publisher = asyncio.get_running_loop().create_task(self._publish())

    async def drain(self) -> None:
        """Wait until everything that was handed over is published or lost."""
        while self._publisher is not None and not self._publisher.done():
            await asyncio.wait([self._publisher])

    async def _publish(self) -> None:
        while self._gathered:
            subject_ids, self._gathered = self._gathered, set()
            try:
                await self._redis.publish(CHANNEL, b"".join(subject_id.bytes for subject_id in subject_ids))
            except _REDIS_ERRORS:
                self._lose(subject_ids)
                await asyncio.sleep(_RETRY_S)
            else:
                await asyncio.sleep(_GATHER_S)

    def _lose(self, subject_ids: set[UUID]) -> None:
        self._on_lost(len(subject_ids))
        subject_ids.clear()


class Watch:
    """One who waits for changes; a change between two looks is not missed."""

    def __init__(self) -> None:
        """Begin without a change."""
        self._event = asyncio.Event()

    def wake(self) -> None:
        """Say that there may be a change."""
        self._event.set()

    async def changed(self, timeout_s: float) -> bool:
        """Wait for a change since the last time; return False when the time is over without one."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class ChangeListener:
    """Wakes those of this process who wait for changes, however many they are, over one connection.

    It connects when it is started or first watched. Word that came while the connection was away is lost, so
    whenever it goes or comes back everybody is woken to look for itself, and `is_live` says how soon to do that
    again.
    """

    def __init__(self, redis: Redis, *, on_word: Callable[[bytes], None] = lambda _: None) -> None:
        """Keep the client, and who hears every message itself, ids one after the other; nothing connects yet."""
        self._redis = redis
        self._on_word = on_word
        self._watches: defaultdict[bytes, set[Watch]] = defaultdict(set)
        self._watches_of_all: set[Watch] = set()
        self._listener: asyncio.Task[None] | None = None
        self.is_live = False
        self.is_released = False

    def start(self) -> None:
        """Connect, and connect again whenever the connection is lost."""
        if self._listener is None:
            self._listener = asyncio.get_running_loop().create_task(self._listen())

    @contextmanager
    def watch(self, subject_id: UUID | None = None) -> Iterator[Watch]:
        """Hear of every change of a subject, or of any, from now until the end of the block.

        Look at the subject inside the block: whatever changes after that look is heard of.
        """
        self.start()
        watch, key = Watch(), subject_id.bytes if subject_id is not None else None
        watches = self._watches_of_all if key is None else self._watches[key]
        watches.add(watch)
        try:
            yield watch
        finally:
            watches.discard(watch)
            if key is not None and not watches:
                self._watches.pop(key, None)

    def release(self) -> None:
        """Let everybody go who waits, now and from now on: the process is about to end."""
        self.is_released = True
        self._wake_all()

    async def close(self) -> None:
        """End the connection."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)

    async def _listen(self) -> None:
        while True:
            try:
                await self._subscribe()
            except _REDIS_ERRORS:
                self._set_live(live=False)
            except Exception:
                log.exception("change_listener_failed")
                self._set_live(live=False)
            await asyncio.sleep(_RETRY_S)

    async def _subscribe(self) -> None:
        """Hear until the connection is gone, or silent for so long that it must be."""
        async with self._redis.pubsub() as subscription:
            await subscription.subscribe(CHANNEL)
            is_asked = False
            while True:
                message = await subscription.get_message(timeout=_QUIET_S)
                if message is not None:
                    is_asked = False
                    self._hear(message["type"], message["data"])
                elif is_asked:
                    raise TimeoutError
                else:
                    is_asked = True
                    await subscription.ping()

    def _hear(self, kind: str, data: bytes) -> None:
        if kind == "subscribe":
            self._set_live(live=True)
        elif kind == "message":
            self._on_word(data)
            for watch in self._watches_of_all:
                watch.wake()
            if self._watches:
                for start in range(0, len(data), _ID_BYTES):
                    for watch in self._watches.get(data[start : start + _ID_BYTES], ()):
                        watch.wake()

    def _set_live(self, *, live: bool) -> None:
        if self.is_live is not live:
            self.is_live = live
            if live:
                log.info("change_listener_live")
            else:
                log.warning("change_listener_away")
            self._wake_all()

    def _wake_all(self) -> None:
        for watches in (self._watches_of_all, *self._watches.values()):
            for watch in watches:
                watch.wake()
