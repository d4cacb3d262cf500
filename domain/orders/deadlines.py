"""What time does to orders: an unpaid one expires, a shipped one completes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.batches import halving
from domain.clock import Clock
from domain.errors import Refused
from domain.ids import OrderId
from domain.orders.model import SYSTEM, Order, OrderStatus, order_event
from domain.orders.ports import OrdersTransaction
from domain.transactions import Begin

PAYMENT_LOOK = timedelta(minutes=1)
"""How soon an order is looked at again that was due to expire while a payment of it was alive."""
DISPUTE_LOOK = timedelta(hours=1)
"""How soon an order is looked at again that was due to complete while it is disputed."""
REFUSED_LOOK = timedelta(hours=1)
"""How long an order is left alone that the database refuses to take a step; its neighbours go on."""


@dataclass(frozen=True, slots=True)
class Step:
    """What time does to an order: its new state, if any, why, and when to look at it again."""

    status: OrderStatus | None
    due_at: datetime | None
    reason: str = ""


def next_step(order: Order, now: datetime, *, is_paying: bool) -> Step:
    """Return what is to be done with a due order. Pure; no I/O.

    An order is not looked for again where nothing is left that time could do. A paid one is due again once it
    ships; a disputed one may return to `shipped`.
    """
    match order.status:
        case OrderStatus.PENDING if is_paying:
            return Step(None, now + PAYMENT_LOOK)
        case OrderStatus.PENDING:
            return Step(OrderStatus.EXPIRED, None, "not paid in time")
        case OrderStatus.SHIPPED:
            return Step(OrderStatus.COMPLETED, None, "no objection in time")
        case OrderStatus.DISPUTED:
            return Step(None, now + DISPUTE_LOOK)
        case _:
            return Step(None, None)


class OrderDeadlines:
    """The periodic task that looks at orders whose time has come."""

    def __init__(
        self, begin: Begin[OrdersTransaction], clock: Clock, *, batch_size: int = 100, batches: int = 20
    ) -> None:
        """Keep the collaborators; one run looks at no more than `batches` times `batch_size` orders."""
        self._begin = begin
        self._clock = clock
        self._batch_size = batch_size
        self._batches = batches

    async def enforce(self) -> int:
        """Let due orders take their steps; return at how many this run looked.

        Safe to repeat, and to run twice at once: an order that another transaction holds is skipped and stays
        due. Locks the orders of a batch, then their products, each sorted by id.
        """
        looked_at = 0
        for _ in range(self._batches):
            async with self._begin() as tx:
                ids = await tx.orders.due(self._clock.now(), limit=self._batch_size)
            done = await halving(sorted(ids), self._enforce, self._leave_alone)
            looked_at += sum(done)
            if len(ids) < self._batch_size or not any(done):
                break
        return looked_at

    async def _enforce(self, ids: Sequence[OrderId]) -> list[bool]:
        now = self._clock.now()
        async with self._begin() as tx:
            orders = await tx.orders.lock_due(ids, now)
            # NOTE: a statement of its own, after the lock. One that locks and looks at once would not see the
            # payment that was accepted while it waited.
            paying = await tx.orders.live_payments([order.id for order in orders])
            steps = [(order, next_step(order, now, is_paying=order.id in paying)) for order in orders]
            moves = [(order, step.status, step.reason) for order, step in steps if step.status is not None]
            await tx.orders.schedule({order.id: step.due_at for order, step in steps})
            await tx.events.append(
                [order_event(order, status, now, by=SYSTEM, reason=reason) for order, status, reason in moves]
            )
            await tx.orders.advance({order.id: status for order, status, _ in moves}, now)
            await tx.commit()
        locked = {order.id for order in orders}
        return [order_id in locked for order_id in ids]

    async def _leave_alone(self, order_id: OrderId, refused: Refused) -> bool:
        async with self._begin() as tx:
            await tx.orders.lock([order_id])
            await tx.orders.schedule({order_id: self._clock.now() + REFUSED_LOOK})
            await tx.commit()
        return True
