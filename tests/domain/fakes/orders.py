"""Orders and their shipments, in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from domain.errors import Refused
from domain.identity.model import Principal
from domain.ids import OrderId, UserId
from domain.orders.model import Order, OrderStatus, Shipment, StockGone
from domain.pages import Page, PageRequest
from domain.payments.model import DEAD
from domain.refunds.model import RefundStatus
from tests.domain.fakes.state import Repository, page_of, present_of


class FakeOrders(Repository):
    async def add(self, order: Order) -> bool:
        if await self.by_key(order.buyer_id, order.idempotency_key):
            return False
        self._state.orders[order.id] = order
        self._move_stock(order, -1)
        return True

    async def by_key(self, buyer_id: UserId, idempotency_key: str) -> Order | None:
        orders = self._state.orders.values()
        return next((o for o in orders if (o.buyer_id, o.idempotency_key) == (buyer_id, idempotency_key)), None)

    async def visible(self, principal: Principal, order_id: OrderId) -> Order | None:
        order = self._state.orders.get(order_id)
        return order if order and (principal.sees_all or principal.user_id in order.parties) else None

    async def page(
        self, principal: Principal, request: PageRequest, status: OrderStatus | None = None
    ) -> Page[Order]:
        orders = [order for order in self._state.orders.values() if await self.visible(principal, order.id)]
        return page_of([order for order in orders if status in {None, order.status}], request)

    async def lock(self, ids: Sequence[OrderId]) -> Mapping[OrderId, Order]:
        return present_of(self._state.orders, ids)

    async def advance(self, statuses: Mapping[OrderId, OrderStatus], at: datetime) -> None:
        if self._state.refused_orders & statuses.keys():
            raise Refused("a trigger of orders")
        for order_id, status in statuses.items():
            before = self._state.orders[order_id]
            if status in {OrderStatus.CANCELLED, OrderStatus.EXPIRED} and before.status is OrderStatus.PENDING:
                self._move_stock(before, 1)
            due_at = at if status is OrderStatus.SHIPPED else before.due_at
            resumes_as = _resumes_as(before, status)
            self._state.orders[order_id] = replace(
                before, status=status, updated_at=at, due_at=due_at, resumes_as=resumes_as
            )

    async def due(self, now: datetime, *, limit: int) -> Sequence[OrderId]:
        orders = [order for order in self._state.orders.values() if order.due_at and order.due_at <= now]
        return [order.id for order in sorted(orders, key=lambda order: (order.due_at, order.id))[:limit]]

    async def lock_due(self, ids: Sequence[OrderId], now: datetime) -> Sequence[Order]:
        due = await self.due(now, limit=len(self._state.orders))
        return [self._state.orders[order_id] for order_id in sorted(ids) if order_id in due]

    async def live_payments(self, ids: Sequence[OrderId]) -> Mapping[OrderId, str]:
        payments = self._state.payments.values()
        return {p.order_id: p.status for p in payments if p.order_id in ids and p.status not in DEAD}

    async def schedule(self, due_ats: Mapping[OrderId, datetime | None]) -> None:
        for order_id, due_at in due_ats.items():
            self._state.orders[order_id] = replace(self._state.orders[order_id], due_at=due_at)

    def _move_stock(self, order: Order, sign: int) -> None:
        for line in order.lines:
            if (product := self._state.products.get(line.product_id)) is None:
                continue  # a test that does not care
            stock = product.stock + sign * line.quantity
            if stock < 0:
                raise StockGone("not enough of a product is left")
            self._state.products[product.id] = replace(product, stock=stock)


class FakeShipments(Repository):
    async def add(self, shipment: Shipment) -> None:
        order = self._state.orders[shipment.order_id]
        taken = any(
            (other.order_id, other.seller_id) == (order.id, shipment.seller_id) for other in self._state.shipments
        )
        open_again = order.status in _WENT_ON and self._refund_failed(shipment)
        if (
            not (order.status is OrderStatus.PAID or open_again)
            or shipment.seller_id not in order.sellers
            or taken
        ):
            raise Refused("a constraint of shipments")
        self._state.shipments.append(shipment)

    def _refund_failed(self, shipment: Shipment) -> bool:
        return any(
            line.seller_id == shipment.seller_id
            for refund in self._state.refunds.values()
            if refund.status is RefundStatus.FAILED
            and self._state.payments[refund.payment_id].order_id == shipment.order_id
            for line in refund.lines
        )

    async def of_orders(self, order_ids: Sequence[OrderId]) -> Mapping[OrderId, Sequence[Shipment]]:
        sent = sorted(self._state.shipments, key=lambda shipment: (shipment.created_at, shipment.seller_id))
        return {order_id: [each for each in sent if each.order_id == order_id] for order_id in order_ids}


_WENT_ON = {OrderStatus.SHIPPED, OrderStatus.COMPLETED}
_INTERRUPTED = {OrderStatus.DISPUTED, OrderStatus.REFUNDED}


def _resumes_as(order: Order, status: OrderStatus) -> OrderStatus | None:
    """What a trigger remembers of an order that is interrupted."""
    if status not in _INTERRUPTED:
        return None
    return order.resumes_as if order.status in _INTERRUPTED else order.status
