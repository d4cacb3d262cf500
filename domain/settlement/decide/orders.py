"""Where an order stands after money of its payment went back. Pure; no I/O."""

from datetime import datetime

from domain.events import Event, event
from domain.orders.model import ORDER_TRANSITIONS, SYSTEM, Order, OrderStatus, order_event
from domain.payments.model import Payment, PaymentStatus
from domain.settlement.model import Returned

_REASONS = {
    OrderStatus.REFUNDED: "all of its money went back",
    OrderStatus.DISPUTED: "its payment is disputed",
}


def order_after(order: Order, payment: Payment, returned: Returned) -> OrderStatus:
    """Return the state of a payment's order, from what is true of the payment's money now.

    It looks at sums and not at news, so it comes to the same end in whatever order they arrive.
    """
    if payment.status is not PaymentStatus.SUCCEEDED:
        return order.status  # the money never paid for it
    if returned.is_disputed:
        wanted = OrderStatus.DISPUTED
    elif returned.refunded_minor + returned.lost_minor >= payment.captured_minor:
        wanted = OrderStatus.REFUNDED
    else:
        wanted = order.resumes_as or order.status
    return wanted if wanted in ORDER_TRANSITIONS[order.status] else order.status


def tell_order(order: Order, status: OrderStatus, payment: Payment, now: datetime) -> Event:
    """Return the event of such a step; `order.resumed` where the order goes on as it was before."""
    if status in _REASONS:
        return order_event(order, status, now, by=SYSTEM, reason=_REASONS[status], payment_id=payment.id)
    return event(
        "order.resumed",
        order.id,
        now,
        audience=order.parties,
        by=SYSTEM,
        reason="its money is not gone",
        payment_id=payment.id,
        order_status=str(status),
    )
