"""Reading orders, and the steps that people take: shipping, completing, cancelling."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from domain.clock import Clock
from domain.errors import Conflict, IllegalTransition, NotFound
from domain.events import Event, event
from domain.fulfilment.shipping import (
    ShippingTransaction,
    is_shipped,
    may_ship,
    paid_and_refunded,
    waits_for_seller,
)
from domain.identity.model import Principal, Role, require_role
from domain.ids import OrderId
from domain.orders.model import Order, OrderStatus, Shipment, order_event
from domain.pages import Page, PageRequest
from domain.refunds.rules import sellers_left_nothing
from domain.transactions import Begin


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order, and what its sellers shipped of it so far."""

    order: Order
    shipments: Sequence[Shipment] = ()


class OrderService:
    """The orders.

    Each step of an order is safe to repeat: who asks again for what was done gets the order as it is now. Each
    locks the order, and each is an event that says by whom and why.
    """

    def __init__(self, begin: Begin[ShippingTransaction], clock: Clock) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._clock = clock

    async def get(self, principal: Principal, order_id: OrderId) -> OrderView:
        """Return an order that the caller may see. Errors: NotFound."""
        async with self._begin() as tx:
            order = await tx.orders.visible(principal, order_id)
            if order is None:
                raise _not_found()
            return await _view(tx, order)

    async def page(
        self, principal: Principal, request: PageRequest, status: OrderStatus | None = None
    ) -> Page[OrderView]:
        """Return a page of the orders that the caller may see, of one state if given, newest first.

        A page may be short although more follow, and one of a state even empty.
        """
        async with self._begin() as tx:
            page = await tx.orders.page(principal, request, status)
            shipments = await tx.shipments.of_orders([order.id for order in page.rows])
        return Page([OrderView(order, shipments[order.id]) for order in page.rows], page.next_after)

    async def ship(
        self, principal: Principal, order_id: OrderId, *, carrier: str | None, tracking_number: str | None
    ) -> OrderView:
        """Note that the calling seller has sent its lines; the order is shipped when nobody has yet to send.

        A seller whose refund failed sends them also of an order that went on without it, which stays what it is.
        Errors: Forbidden for other roles; NotFound for orders without a line of the caller; IllegalTransition
        for any other order that is not paid; Conflict `already_shipped` for a second shipment unlike the first,
        `nothing_to_ship` for a seller all of whose part goes back.
        """
        require_role(principal, Role.SELLER)
        now = self._clock.now()
        shipment = Shipment(order_id, principal.user_id, carrier, tracking_number, now)
        async with self._begin() as tx:
            order = await _lock(tx, order_id)
            if order is None or principal.user_id not in order.sellers:
                raise _not_found()
            before = (await tx.shipments.of_orders([order_id]))[order_id]
            earlier = next((sent for sent in before if sent.seller_id == principal.user_id), None)
            if earlier is not None:
                _check_repeated(shipment, earlier)
                return OrderView(order, before)
            view = await _ship(tx, order, [*before, shipment])
            await tx.commit()
        return view

    async def complete(self, principal: Principal, order_id: OrderId) -> OrderView:
        """Note that the calling buyer has got what it ordered.

        Errors: Forbidden for other roles; NotFound; IllegalTransition for an order that is not shipped; Conflict
        `seller_yet_to_ship` where the refund of a seller failed, which has sent nothing so far.
        """
        return await self._end(
            principal, order_id, OrderStatus.SHIPPED, OrderStatus.COMPLETED, "confirmed by the buyer"
        )

    async def cancel(self, principal: Principal, order_id: OrderId) -> OrderView:
        """Cancel an order of the calling buyer, which gives its stock back.

        Errors: Forbidden for other roles; NotFound; IllegalTransition for an order that is not pending; Conflict
        `payment_in_progress` while a payment of it is alive. Locks the products too, after the order.
        """
        return await self._end(
            principal, order_id, OrderStatus.PENDING, OrderStatus.CANCELLED, "cancelled by the buyer"
        )

    async def _end(
        self, principal: Principal, order_id: OrderId, start: OrderStatus, end: OrderStatus, reason: str
    ) -> OrderView:
        """Take the step of a buyer from one state to another."""
        require_role(principal, Role.BUYER)
        now = self._clock.now()
        async with self._begin() as tx:
            order = await _lock(tx, order_id)
            if order is None or order.buyer_id != principal.user_id:
                raise _not_found()
            view = await _view(tx, order)
            if order.status is end:
                return view
            _check_status(order, start, wanted=end)
            if end is OrderStatus.CANCELLED:
                await _check_unpaid(tx, order)
            elif await waits_for_seller(tx, order, view.shipments):
                raise Conflict("a seller has yet to ship its part of the order", code="seller_yet_to_ship")
            await tx.events.append([order_event(order, end, now, by=principal.user_id, reason=reason)])
            await tx.orders.advance({order_id: end}, now)
            await tx.commit()
        return OrderView(replace(order, status=end, updated_at=now), view.shipments)


async def _lock(tx: ShippingTransaction, order_id: OrderId) -> Order | None:
    return (await tx.orders.lock([order_id])).get(order_id)


async def _ship(tx: ShippingTransaction, order: Order, shipments: Sequence[Shipment]) -> OrderView:
    """Write the last of the shipments, and with it the order's step when no seller is left.

    An order that is shipped already waited for this one, and time looks at it again.
    """
    shipment = shipments[-1]
    at = shipment.created_at
    payment, refunds = await paid_and_refunded(tx, order)
    if not may_ship(order, shipment.seller_id, refunds):
        raise _no_step(order, OrderStatus.SHIPPED)
    if shipment.seller_id in sellers_left_nothing(order, payment, refunds):
        raise Conflict("all that was paid for your part of the order goes back", code="nothing_to_ship")
    await tx.shipments.add(shipment)
    events = [_shipped_by(order, shipment)]
    if order.status is OrderStatus.SHIPPED:
        await tx.orders.schedule({order.id: at})
        order = replace(order, due_at=at)
    elif order.status is OrderStatus.PAID and is_shipped(order, payment, shipments, refunds):
        reason = "every seller has shipped, or is refunded"
        events.append(order_event(order, OrderStatus.SHIPPED, at, by=shipment.seller_id, reason=reason))
        await tx.orders.advance({order.id: OrderStatus.SHIPPED}, at)
        order = replace(order, status=OrderStatus.SHIPPED, updated_at=at, due_at=at)
    await tx.events.append(events)
    return OrderView(order, shipments)


async def _view(tx: ShippingTransaction, order: Order) -> OrderView:
    return OrderView(order, (await tx.shipments.of_orders([order.id]))[order.id])


def _not_found() -> NotFound:
    return NotFound("there is no such order", code="order_not_found")


def _check_status(order: Order, needed: OrderStatus, *, wanted: OrderStatus) -> None:
    """Refuse a step of a person from any other state.

    The table of steps is wider: a dispute that is won returns an order to `completed`, which no buyer does.
    """
    if order.status is not needed:
        raise _no_step(order, wanted)


def _no_step(order: Order, wanted: OrderStatus) -> IllegalTransition:
    return IllegalTransition(
        f"an order that is {order.status} cannot become {wanted}", order_status=str(order.status)
    )


def _check_repeated(shipment: Shipment, earlier: Shipment) -> None:
    if (shipment.carrier, shipment.tracking_number) != (earlier.carrier, earlier.tracking_number):
        raise Conflict(
            "your part of the order is shipped already",
            code="already_shipped",
            carrier=earlier.carrier,
            tracking_number=earlier.tracking_number,
        )


async def _check_unpaid(tx: ShippingTransaction, order: Order) -> None:
    payment_status = (await tx.orders.live_payments([order.id])).get(order.id)
    if payment_status is not None:
        raise Conflict(
            f"the order is {order.status} and a payment of it is {payment_status}",
            code="payment_in_progress",
            order_status=str(order.status),
            payment_status=payment_status,
        )


def _shipped_by(order: Order, shipment: Shipment) -> Event:
    return event(
        "shipment.created",
        order.id,
        shipment.created_at,
        audience=order.parties,
        by=shipment.seller_id,
        reason="sent by the seller",
        carrier=shipment.carrier,
        tracking_number=shipment.tracking_number,
    )
