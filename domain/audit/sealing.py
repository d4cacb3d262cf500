"""Sealing: what is final joins the chain, some seconds after it happened and outside of everybody's way."""

import asyncio
from collections.abc import Callable

from domain.audit.model import BEFORE_ALL, Log, Seal, make_seal
from domain.audit.ports import AuditTransaction
from domain.clock import Clock
from domain.transactions import Begin

_PAUSE_S = 0.05
_MAX_PAUSES = 100


def _tell_nobody(_: Seal) -> None:
    """Hear of seals where nobody publishes them."""


class AuditSealer:
    """Seals what was committed since the last time, in batches, a transaction each."""

    def __init__(
        self,
        begin: Begin[AuditTransaction],
        clock: Clock,
        *,
        on_seal: Callable[[Seal], None] = _tell_nobody,
        batch_size: int = 1_000,
        pause_s: float = _PAUSE_S,
    ) -> None:
        """Keep the collaborators; `on_seal` hears of each seal after its commit, and publishes its hash.

        Hashing a batch holds up everything else on the event loop.
        """
        self._begin = begin
        self._clock = clock
        self._on_seal = on_seal
        self._batch_size = batch_size
        self._pause_s = pause_s

    async def seal(self) -> int:
        """Seal what is final and return how many records. Safe to repeat and to race: one at a time seals."""
        ends = await self._ends()
        return sum([await self._seal(log, through) for log, through in ends.items()])

    async def _ends(self) -> dict[Log, int]:
        """Return through which position each log is final: whoever may still write there has ended.

        Transactions commit in another order than they take positions. But each has its id before it takes one,
        so an id that is taken now is greater than those of all who hold a position up to the last.
        """
        async with self._begin() as tx:
            last = await tx.feed.last_position()
            barrier = await tx.feed.barrier()
        for _ in range(_MAX_PAUSES):
            async with self._begin() as tx:
                oldest_running = await tx.feed.oldest_running()
            if oldest_running >= barrier:
                return {Log.EVENTS: last, Log.JOURNALS: oldest_running - 1}
            await asyncio.sleep(self._pause_s)
        # Somebody writes for long. Events wait for the next time; journals stand at their transaction's id.
        return {Log.JOURNALS: oldest_running - 1}

    async def _seal(self, log: Log, through: int) -> int:
        count, after, span = 0, 0, self._batch_size
        while True:
            async with self._begin() as tx:
                if not await tx.audit.try_lock():
                    return count
                sealed = await tx.audit.sealed_through(log)
                after = max(after, sealed)
                if after >= through:
                    return count
                # PERF: a bounded range, which grows while it is empty, keeps each batch as cheap as the first.
                end = min(through, after + span)
                records = await tx.audit.records(log, after or BEFORE_ALL, end, limit=self._batch_size)
                if not records:
                    after, span = end, span * 2
                    continue
                seal = make_seal(await tx.audit.last_seal(), log, sealed + 1, records, self._clock.now())
                await tx.audit.add(seal)
                await tx.commit()
            self._on_seal(seal)
            count += seal.count
