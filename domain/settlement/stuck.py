"""Payments that do not get on by themselves, and how an operator sends them on."""

from collections.abc import Sequence
from datetime import timedelta

from domain.clock import Clock
from domain.errors import Conflict, NotFound
from domain.events import event
from domain.ids import PaymentId
from domain.payments.model import PaymentStatus
from domain.settlement.model import StuckPayment
from domain.settlement.ports import SettlementTransaction
from domain.transactions import Begin


class StuckPayments:
    """What operators see and do when a payment does not get on."""

    def __init__(self, begin: Begin[SettlementTransaction], clock: Clock, *, patience_s: float) -> None:
        """Keep the collaborators; after `patience_s` seconds what is due and not taken counts as stuck."""
        self._begin = begin
        self._clock = clock
        self._patience = timedelta(seconds=patience_s)

    async def find(self, *, limit: int) -> Sequence[StuckPayment]:
        """Return payments that are stuck, the longest first, among the first hundred thousand that wait."""
        now = self._clock.now()
        async with self._begin() as tx:
            return await tx.payment_work.stuck(now, now - self._patience, limit=limit)

    async def retry(self, payment_id: PaymentId) -> PaymentStatus:
        """Make a payment due now, out of quarantine if it is in it; return its status. Safe to repeat.

        Nothing is charged twice by it: the same step is taken again, under the same key. Locks the payment.
        Errors: NotFound `payment_not_found`; Conflict `payment_not_waiting` where nothing is left to do,
        `payment_in_work` while a worker holds it.
        """
        now = self._clock.now()
        async with self._begin() as tx:
            locked = await tx.payment_work.lock([payment_id])
            if not locked:
                raise NotFound("there is no such payment", code="payment_not_found")
            state = await tx.payment_work.work_state(payment_id)
            if state.quarantined_at is None and state.due_at is None:
                raise Conflict("nothing is left to do for this payment", code="payment_not_waiting")
            if state.locked_until is not None and state.locked_until > now:
                raise Conflict("a worker is at it", code="payment_in_work")
            await tx.payment_work.release(payment_id, now)
            if state.quarantined_at is not None:
                parties = (await tx.payment_work.parties_of([payment_id]))[payment_id]
                await tx.events.append([event("payment.released", payment_id, now, audience=parties)])
            await tx.commit()
        return locked[0][0].status
