"""What waits for a person, as what the database refused does, and how an operator lets it go."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from domain.clock import Clock
from domain.errors import Conflict, NotFound
from domain.events import Event, event
from domain.ids import PayoutId, RefundId, ReversalId
from domain.settlement.aftermath import lock_payment
from domain.settlement.model import Quarantined
from domain.settlement.ports import SettlementTransaction
from domain.transactions import Begin
from domain.work import Work


class Quarantine:
    """What operators see and do of what is in quarantine.

    A payment is sent on by `StuckPayments`, and Stripe's events by reading them once more (`StripeReplay`).
    """

    def __init__(self, begin: Begin[SettlementTransaction], clock: Clock) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._clock = clock

    async def find(self, *, limit: int) -> Sequence[Quarantined]:
        """Return what is in quarantine, the longest first."""
        async with self._begin() as tx:
            return await tx.quarantine.find(limit=limit)

    async def release(self, work: Work, row_id: UUID) -> None:
        """Let a refund, a payout or a reversal go, due now if something is left to do. Safe to repeat.

        Nothing is moved twice by it: the same step is taken again, under the same key. Locks the row, and what is
        locked before it. Errors: NotFound `not_found`; Conflict `not_quarantined`.
        """
        now = self._clock.now()
        async with self._begin() as tx:
            told = await _RELEASED[work](tx, row_id, now)
            if told is None:
                raise NotFound("there is nothing of that kind with that id", code="not_found")
            if not await tx.quarantine.release(work, row_id, now):
                raise Conflict("it is not in quarantine", code="not_quarantined")
            await tx.events.append([told])
            await tx.commit()


async def _refund(tx: SettlementTransaction, row_id: UUID, now: datetime) -> Event | None:
    known = await tx.refund_work.find(RefundId(row_id), None)
    if known is None:
        return None
    payment, _ = await lock_payment(tx, known.payment_id)
    refund = await tx.refund_work.lock(known.id)
    audience = refund.parties(payment)
    return event("refund.released", refund.payment_id, now, audience=audience, refund_id=refund.id)


async def _payout(tx: SettlementTransaction, row_id: UUID, now: datetime) -> Event | None:
    locked = await tx.payout_work.lock([PayoutId(row_id)])
    return event("payout.released", row_id, now, audience=[locked[0].seller_id]) if locked else None


async def _reversal(tx: SettlementTransaction, row_id: UUID, now: datetime) -> Event | None:
    known = await tx.reversal_work.find(ReversalId(row_id), None)
    if known is None:
        return None
    (payout,) = await tx.payout_work.lock([known.payout_id])
    await tx.reversal_work.lock(known.id)
    audience = [payout.seller_id]
    return event("payout.reversal_released", payout.id, now, audience=audience, reversal_id=known.id)


_RELEASED: Mapping[Work, Callable[[SettlementTransaction, UUID, datetime], Awaitable[Event | None]]] = {
    Work.REFUNDS: _refund,
    Work.PAYOUTS: _payout,
    Work.REVERSALS: _reversal,
}
"""What locks a row of each kind, and returns the event that tells of its release; None where there is none."""
