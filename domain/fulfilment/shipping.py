"""When an order is shipped: each of its sellers has sent its lines, or was left nothing of them.

A refund that fails after its order went on without the seller makes that one a seller that has yet to send: it may
still do so, and the order, which never goes back, does not complete before.
"""

from collections.abc import Sequence
from typing import Protocol

from domain.ids import UserId
from domain.orders.model import Order, OrderStatus, Shipment
from domain.orders.ports import OrdersTransaction
from domain.payments.model import Payment
from domain.payments.ports import PaymentRepository
from domain.refunds.model import Refund, RefundStatus
from domain.refunds.ports import RefundRepository
from domain.refunds.rules import sellers_left_nothing


class ShippingTransaction(OrdersTransaction, Protocol):
    """The repositories of orders, and what tells who has nothing more to send."""

    @property
    def payments(self) -> PaymentRepository:
        """The payments."""
        ...

    @property
    def refunds(self) -> RefundRepository:
        """The refunds."""
        ...


def is_shipped(
    order: Order, payment: Payment | None, shipments: Sequence[Shipment], refunds: Sequence[Refund]
) -> bool:
    """Tell whether something of a paid order was sent, and nobody has yet to send. Pure; no I/O."""
    return bool(shipments) and not yet_to_ship(order, payment, shipments, refunds)


def yet_to_ship(
    order: Order, payment: Payment | None, shipments: Sequence[Shipment], refunds: Sequence[Refund]
) -> frozenset[UserId]:
    """Return the sellers that have yet to send their lines of an order. Pure; no I/O.

    `payment` is the one that paid for it. A seller need not send whose whole part of it has gone back; a refund
    that is under way may still fail.
    """
    gone = [refund for refund in refunds if refund.status is RefundStatus.SUCCEEDED]
    sent = {shipment.seller_id for shipment in shipments}
    return order.sellers - sent - sellers_left_nothing(order, payment, gone)


def may_ship(order: Order, seller_id: UserId, refunds: Sequence[Refund]) -> bool:
    """Tell whether the state of an order lets a seller that has sent nothing of it do so. Pure; no I/O.

    It may while the order is paid. After that the order went on without it because it was refunded, and it may
    again where the refund failed, be the order completed meanwhile. A trigger of shipments holds the same.
    """
    match order.status:
        case OrderStatus.PAID:
            return True
        case OrderStatus.SHIPPED | OrderStatus.COMPLETED:
            failed = [refund for refund in refunds if refund.status is RefundStatus.FAILED]
            return any(line.seller_id == seller_id for refund in failed for line in refund.lines)
        case _:
            return False


async def paid_and_refunded(tx: ShippingTransaction, order: Order) -> tuple[Payment | None, Sequence[Refund]]:
    """Return the payment that paid for a locked order, if any did, and its refunds, the oldest first."""
    payment = await tx.payments.of_order(order.id)
    return payment, await tx.refunds.of_payment(payment.id) if payment is not None else ()


async def waits_for_seller(tx: ShippingTransaction, order: Order, shipments: Sequence[Shipment]) -> bool:
    """Tell whether a locked order that is shipped cannot complete, since a seller's refund failed meanwhile.

    Reads the money of an order alone of which some seller has sent nothing.
    """
    if order.sellers <= {shipment.seller_id for shipment in shipments}:
        return False
    payment, refunds = await paid_and_refunded(tx, order)
    return bool(yet_to_ship(order, payment, shipments, refunds))
