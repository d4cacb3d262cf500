"""Announcements: the ids of due rows gather for some milliseconds, so that few messages name many of them."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from contextvars import Context
from uuid import UUID

import structlog

from domain.errors import Unavailable
from domain.settlement.ports import WorkQueue
from domain.work import Work

_GATHER_S = 0.025
# PERF: eight ids within that time mean load, and under load a fuller message is worth a longer wait.
_BUSY_IDS = 8
_BUSY_GATHER_S = 0.25
# Stripe's events may wait: nearly all repeat what the answer to the charge has said already.
_GATHER_EVENTS_S = 0.2
_MAX_GATHERED = 50_000
# A queue this long has no workers, and more messages would only fill the broker.
_MAX_DEPTH = 5_000
_DEPTH_S = 5.0
"""How often the length of a queue is looked up."""

log = structlog.get_logger(__name__)


class GatheringAnnouncer:
    """`domain.work.Announcer`: an id goes at once, those of the next milliseconds go together.

    Best effort and bounded: while the broker is away, or a queue is full because nobody works, ids are dropped,
    and the sweeper announces their rows later.
    PERF: a message costs as much as accepting several payments, so under load there are forty a second, not more.
    """

    def __init__(self, queue: WorkQueue, *, batch_size: int, on_lost: Callable[[int], None]) -> None:
        """Keep the queue, the most ids of one message, and what hears how many announcements were lost."""
        self._queue = queue
        self._batch_size = batch_size
        self._on_lost = on_lost
        self._gathered: defaultdict[Work, list[UUID | str]] = defaultdict(list)
        self._publishers: dict[Work, asyncio.Task[None]] = {}
        self._published_at: defaultdict[Work, float] = defaultdict(float)
        self._looked_at: defaultdict[Work, float] = defaultdict(float)
        self._full: set[Work] = set()

    def announce(self, work: Work, ids: Sequence[UUID | str]) -> None:
        """Hand over ids to be published soon; neither waits nor fails."""
        if len(self._gathered[work]) >= _MAX_GATHERED:
            self._on_lost(len(ids))
            return
        self._gathered[work].extend(ids)
        if work not in self._publishers:
            # In a context of its own: what it logs is not about the request or payment that happens to come first.
            self._publishers[work] = asyncio.get_running_loop().create_task(self._publish(work), context=Context())

    def announce_deliveries(self, endpoint_ids: Collection[UUID]) -> None:
        """Hand over endpoints for which there are new deliveries."""
        self.announce(Work.DELIVERIES, list(endpoint_ids))

    async def drain(self) -> None:
        """Wait until everything that was handed over is published or lost."""
        while self._publishers:
            await asyncio.wait(self._publishers.values())

    async def _publish(self, work: Work) -> None:
        loop = asyncio.get_running_loop()
        gather_s = _GATHER_EVENTS_S if work is Work.STRIPE_EVENTS else _GATHER_S
        try:
            while self._gathered[work]:
                await asyncio.sleep(self._published_at[work] + gather_s - loop.time())
                if _BUSY_IDS <= len(self._gathered[work]) < self._batch_size:
                    await asyncio.sleep(self._published_at[work] + _BUSY_GATHER_S - loop.time())
                self._published_at[work] = loop.time()
                await self._publish_all(work, self._gathered.pop(work))
                # After publishing, so that no message waits for it.
                await self._look_at_depth(work)
        finally:
            # NOTE: here, not in a callback of the task, which would run after the next announcement.
            del self._publishers[work]

    async def _publish_all(self, work: Work, ids: Sequence[UUID | str]) -> None:
        if work in self._full:
            self._on_lost(len(ids))
            return
        for start in range(0, len(ids), self._batch_size):
            try:
                await self._queue.publish(work, ids[start : start + self._batch_size])
            except Unavailable:
                lost = len(ids) - start
                self._on_lost(lost)
                log.warning("announcements_lost", work=str(work), rows=lost)
                return

    async def _look_at_depth(self, work: Work) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._looked_at[work] < _DEPTH_S:
            return
        self._looked_at[work] = now
        try:
            depth = await self._queue.depth(work)
        except Unavailable:
            return
        if depth >= _MAX_DEPTH:
            self._full.add(work)
            log.warning("queue_full", work=str(work), messages=depth)
        else:
            self._full.discard(work)
