"""How many rows may be worked on now: as many as Stripe may be asked about. The others are put off."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from domain.clock import Clock
from domain.settlement.ports import RowId, SettlementTransaction
from domain.transactions import Begin
from domain.work import Work


class Egress(Protocol):
    """The way out to Stripe: a breaker, and a limit to the rate of calls."""

    async def admit(self, count: int, *, urgent: bool) -> Sequence[float]:
        """Let calls for the first of `count` rows through; return for each of the others its wait in seconds.

        Urgent calls go before others. Never fails.
        """
        ...


class Admission:
    """Puts off rows that Stripe cannot be asked about now; they are neither leased nor counted as tried."""

    def __init__(
        self,
        begin: Begin[SettlementTransaction],
        egress: Egress,
        clock: Clock,
        *,
        on_postponed: Callable[[Work, int], None],
    ) -> None:
        """Keep the collaborators; `on_postponed` hears how many rows were put off."""
        self._on_postponed = on_postponed
        self._begin = begin
        self._egress = egress
        self._clock = clock

    async def admit(self, work: Work, ids: Sequence[RowId]) -> Sequence[RowId]:
        """Return the rows that may go now; the others become due later, unless somebody holds them.

        New charges come last: after other kinds of work, and after payments that were tried before, whose outcome
        may be unknown. Safe to repeat. Errors: Unavailable `database_unavailable`.
        """
        urgent = work is not Work.CHARGES
        admitted, waits_s = await self._ask(ids, urgent=urgent)
        if waits_s and not urgent:
            tried = await self._tried(work, list(waits_s))
            tried_admitted, tried_waits_s = await self._ask(tried, urgent=True)
            admitted = [*admitted, *tried_admitted]
            waits_s |= tried_waits_s
            for row_id in tried_admitted:
                del waits_s[row_id]
        if waits_s:
            await self._postpone(work, waits_s)
        return admitted

    async def _tried(self, work: Work, ids: Sequence[RowId]) -> Sequence[RowId]:
        async with self._begin() as tx:
            tried = await tx.due_work.tried(work, ids)
        return [row_id for row_id in ids if row_id in tried]

    async def _postpone(self, work: Work, waits_s: Mapping[RowId, float]) -> None:
        now = self._clock.now()
        dues = {row_id: now + timedelta(seconds=wait_s) for row_id, wait_s in waits_s.items()}
        async with self._begin() as tx:
            await tx.due_work.postpone(work, dues, now)
            await tx.commit()
        self._on_postponed(work, len(waits_s))

    async def _ask(self, ids: Sequence[RowId], *, urgent: bool) -> tuple[Sequence[RowId], dict[RowId, float]]:
        """Return the rows that may go, and for each of the others its wait in seconds."""
        if not ids:
            return ids, {}
        waits = await self._egress.admit(len(ids), urgent=urgent)
        going = len(ids) - len(waits)
        return ids[:going], dict(zip(ids[going:], waits, strict=True))
