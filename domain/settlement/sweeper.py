"""The sweeper: announces again every due row whose message or worker got lost."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from domain.clock import Clock
from domain.errors import Unavailable
from domain.settlement.ports import RowId, SettlementTransaction, WorkQueue
from domain.transactions import Begin
from domain.work import Work


class Sweeper:
    """Turns due rows into messages, so that the broker may lose, repeat or delay any message."""

    def __init__(
        self,
        begin: Begin[SettlementTransaction],
        queue: WorkQueue,
        clock: Clock,
        *,
        republish_after_s: float,
        queue_depth_limit: int,
        batch_size: int,
        batches: int = 16,
    ) -> None:
        """Keep the collaborators; a sweep publishes at most `batches` messages of `batch_size` rows."""
        self._begin = begin
        self._queue = queue
        self._clock = clock
        self._republish_after = timedelta(seconds=republish_after_s)
        self._queue_depth_limit = queue_depth_limit
        self._batch_size = batch_size
        self._batches = batches

    async def sweep(self) -> Mapping[Work, int]:
        """Announce due rows, oldest first; return how many of each kind.

        A queue that is long already gets nothing: its workers have enough to do, and the rows stay due. Two
        sweepers that run at once share the rows. Safe to repeat. Errors: Unavailable `broker_unavailable`,
        `database_unavailable`.
        """
        return {work: await self._sweep(work) for work in Work}

    async def _sweep(self, work: Work) -> int:
        if await self._queue.depth(work) >= self._queue_depth_limit:
            return 0
        async with self._begin() as tx:
            ids = await tx.due_work.claim(
                work,
                self._clock.now(),
                republish_after_s=self._republish_after.total_seconds(),
                limit=self._batch_size * self._batches,
            )
            await tx.commit()
        for start in range(0, len(ids), self._batch_size):
            try:
                await self._queue.publish(work, ids[start : start + self._batch_size])
            except Unavailable:
                await self._give_back(work, ids[start:])
                raise
        return len(ids)

    async def _give_back(self, work: Work, ids: Sequence[RowId]) -> None:
        """Let rows whose message failed be announced soon; after `claim` the older ones would wait long for it."""
        async with self._begin() as tx:
            await tx.due_work.give_back(work, ids, self._clock.now() + self._republish_after)
            await tx.commit()
