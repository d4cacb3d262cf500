"""Following the event log without missing an event that commits late."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from domain.feed.model import LoggedEvent, Look
from domain.feed.ports import FeedTransaction, Readers
from domain.feed.standstill import Standstill
from domain.transactions import Begin

_START_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class _Barrier:
    """Every position below was taken by a transaction older than that one."""

    below: int
    transaction: int


class Tail:
    """Reads the log from its end on, in the order of positions, each event once.

    Transactions commit in another order than they take positions, so a missing position may still be filled. It
    is waited for until every transaction that had begun to write when it was first missed has ended; if it is
    missing then, its transaction was rolled back.
    """

    def __init__(self, begin: Begin[FeedTransaction], *, page: int, standstill: Standstill | None = None) -> None:
        """Keep where transactions begin, how many events one look takes, and who hears where that waits."""
        self._begin = begin
        self._page = page
        self._standstill = standstill or Standstill(lambda _: None)
        self._barrier: _Barrier | None = None
        self.position = 0
        """Everything up to here is final and was read."""

    async def start(self) -> None:
        """Go to the end of the log: behind what is committed now, and what could still come before that."""
        async with self._begin() as tx:
            last_position, barrier = await tx.feed.last_position(), await tx.feed.barrier()
        while True:
            async with self._begin() as tx:
                if await tx.feed.oldest_running() >= barrier:
                    break
            self._standstill.wait(last_position)
            await asyncio.sleep(_START_PAUSE_S)
        self._standstill.end()
        self.position = last_position

    async def read(self, readers: Readers) -> tuple[Sequence[LoggedEvent], bool]:
        """Return the readers' events that are final and were not read, and whether more may be there at once."""
        async with self._begin() as tx:
            look = await tx.feed.look(self.position, readers, limit=self._page)
            if look.next_position is not None and not self._covers(look.next_position):
                self._barrier = _Barrier(look.last_position + 1, await tx.feed.barrier())
        self.position = look.through
        if self._is_gap_final(look):
            assert look.next_position is not None  # noqa: S101 - there is no gap otherwise
            self.position = look.next_position - 1
            self._standstill.end()
            return look.events, True
        if self.waits_for_gap:
            self._standstill.wait(self.position)
        else:
            self._standstill.end()
        return look.events, look.is_full and look.next_position is None

    @property
    def waits_for_gap(self) -> bool:
        """Whether events are there behind one that may still come."""
        return self._barrier is not None and self.position + 1 < self._barrier.below

    def _is_gap_final(self, look: Look) -> bool:
        return (
            look.next_position is not None
            and self._barrier is not None
            and look.oldest_running >= self._barrier.transaction
        )

    def _covers(self, next_position: int) -> bool:
        return self._barrier is not None and next_position < self._barrier.below
