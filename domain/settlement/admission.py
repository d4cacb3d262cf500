"""How many rows may be worked at now: as many as Stripe may be asked about. The others wait in their rows."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Protocol

from domain.clock import Clock
from domain.payments.ports import Work
from domain.settlement.ports import RowId, SettlementTransaction
from domain.transactions import Begin


class Egress(Protocol):
    """The way out to Stripe: its rate limit, and the breaker before it."""

    async def admit(self, count: int, *, urgent: bool) -> Sequence[float]:
        """Let calls for so many rows through; return, for those that may not go, in how many seconds to ask again.

        The first ones go, the last ones wait. Urgent ones go before others. Never fails.
        """
        ...


class Admission:
    """Puts rows back that nobody can ask Stripe about now: neither leased nor counted as tried."""

    def __init__(
        self,
        begin: Begin[SettlementTransaction],
        egress: Egress,
        clock: Clock,
        *,
        on_postponed: Callable[[Work, int], None],
    ) -> None:
        """Keep the collaborators, and whom to tell how many rows were put back."""
        self._on_postponed = on_postponed
        self._begin = begin
        self._egress = egress
        self._clock = clock

    async def admit(self, work: Work, ids: Sequence[RowId]) -> Sequence[RowId]:
        """Return the rows that may go now; the others are due later, unless somebody holds them.

        New charges come after everything else: after other kinds of work, and after payments that were tried
        before and have to be looked up. Safe to repeat.
        """
        urgent = work is not Work.CHARGES
        admitted, waiting = await self._ask(ids, urgent=urgent)
        if not waiting:
            return admitted
        if not urgent:
            async with self._begin() as tx:
                tried = await tx.due_work.tried(work, list(waiting))
            before, waiting_tried = await self._ask([row_id for row_id in waiting if row_id in tried], urgent=True)
            admitted = [*admitted, *before]
            waiting = {row_id: wait_s for row_id, wait_s in waiting.items() if row_id not in tried} | waiting_tried
        if not waiting:
            return admitted
        now = self._clock.now()
        async with self._begin() as tx:
            dues = {row_id: now + timedelta(seconds=wait_s) for row_id, wait_s in waiting.items()}
            await tx.due_work.postpone(work, dues, now)
            await tx.commit()
        self._on_postponed(work, len(waiting))
        return admitted

    async def _ask(self, ids: Sequence[RowId], *, urgent: bool) -> tuple[Sequence[RowId], dict[RowId, float]]:
        if not ids:
            return ids, {}
        waits = await self._egress.admit(len(ids), urgent=urgent)
        going = len(ids) - len(waits)
        return ids[:going], dict(zip(ids[going:], waits, strict=True))
