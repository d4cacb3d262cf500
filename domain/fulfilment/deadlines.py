"""What time does to orders: an unpaid one expires, a shipped one completes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.batches import halving
from domain.clock import Clock
from domain.errors import Refused
from domain.fulfilment.shipping import ShippingTransaction, waits_for_seller
from domain.ids import OrderId
from domain.orders.model import SYSTEM, Order, OrderStatus, Shipment, order_event
from domain.transactions import Begin

PAYMENT_LOOK = timedelta(minutes=1)
"""How soon an order is looked at again that was due to expire while a payment of it was alive."""
REFUSED_LOOK = timedelta(hours=1)
"""How long an order is left alone that the database refuses to take a step; its neighbours go on."""


@dataclass(frozen=True, slots=True)
class DueOrder:
    """A locked order whose time has come, with what else decides on it."""

    order: Order
    is_paying: bool
    shipments: Sequence[Shipment]
    waits_for_seller: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What time does to an order: its new state, if any, why, and when to look at it again."""

    status: OrderStatus | None = None
    due_at: datetime | None = None
    reason: str = ""


def next_step(due: DueOrder, now: datetime, completes_after: timedelta) -> Step:
    """Return what is to be done with a due order. Pure; no I/O.

    It is not looked for again where nothing is left that time could do: a paid order, a disputed or a refunded
    one is due again when it ships, or is shipped again; one that waits for a seller when that one ships or is
    refunded.
    """
    match due.order.status:
        case OrderStatus.PENDING if due.is_paying:
            return Step(due_at=now + PAYMENT_LOOK)
        case OrderStatus.PENDING:
            return Step(OrderStatus.EXPIRED, reason="not paid in time")
        case OrderStatus.SHIPPED if due.waits_for_seller:
            return Step()
        case OrderStatus.SHIPPED:
            shipped_at = max((shipment.created_at for shipment in due.shipments), default=due.order.updated_at)
            completes_at = shipped_at + completes_after
            if now < completes_at:
                return Step(due_at=completes_at)
            return Step(OrderStatus.COMPLETED, reason="no objection in time")
        case _:
            return Step()


class OrderDeadlines:
    """The periodic task that looks at orders whose time has come."""

    def __init__(
        self,
        begin: Begin[ShippingTransaction],
        clock: Clock,
        *,
        completes_after_s: float,
        batch_size: int = 100,
        batches: int = 20,
    ) -> None:
        """Keep the collaborators, and how long after shipping an order completes.

        One run looks at no more than `batches` times `batch_size` orders.
        """
        self._begin = begin
        self._clock = clock
        self._completes_after = timedelta(seconds=completes_after_s)
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
            orders = await self._lock(tx, ids, now)
            steps = [(due.order, next_step(due, now, self._completes_after)) for due in orders]
            moves = [(order, step.status, step.reason) for order, step in steps if step.status is not None]
            await tx.orders.schedule({order.id: step.due_at for order, step in steps})
            await tx.events.append(
                [order_event(order, status, now, by=SYSTEM, reason=reason) for order, status, reason in moves]
            )
            await tx.orders.advance({order.id: status for order, status, _ in moves}, now)
            await tx.commit()
        locked = {due.order.id for due in orders}
        return [order_id in locked for order_id in ids]

    async def _lock(self, tx: ShippingTransaction, ids: Sequence[OrderId], now: datetime) -> list[DueOrder]:
        orders = await tx.orders.lock_due(ids, now)
        locked = [order.id for order in orders]
        # NOTE: statements of their own, after the lock. One that locks and looks at once would not see the payment
        # that was accepted while it waited.
        paying = await tx.orders.live_payments(locked)
        shipments = await tx.shipments.of_orders(locked)
        waiting = {
            order.id
            for order in orders
            if order.status is OrderStatus.SHIPPED and await waits_for_seller(tx, order, shipments[order.id])
        }
        return [DueOrder(order, order.id in paying, shipments[order.id], order.id in waiting) for order in orders]

    async def _leave_alone(self, order_id: OrderId, refused: Refused) -> bool:
        async with self._begin() as tx:
            await tx.orders.lock([order_id])
            await tx.orders.schedule({order_id: self._clock.now() + REFUSED_LOOK})
            await tx.commit()
        return True
