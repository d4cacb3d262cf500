"""When an order is shipped: each of its sellers has sent its lines, or was left nothing of them."""

from collections.abc import Sequence
from typing import Protocol

from domain.orders.model import Order, Shipment
from domain.orders.ports import OrdersTransaction
from domain.payments.model import Payment
from domain.payments.ports import PaymentRepository
from domain.refunds.model import Refund, RefundStatus
from domain.refunds.ports import RefundRepository
from domain.refunds.rules import sellers_left_nothing


class ShippingTransaction(OrdersTransaction, Protocol):
    """The repositories of this context, and what tells who has nothing more to send."""

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
    """Tell whether something of a paid order was sent, and nobody has yet to send. Pure; no I/O.

    `payment` is the one that paid for it. A seller need not send whose whole part of it has gone back; a refund
    that is under way may still fail.
    """
    gone = [refund for refund in refunds if refund.status is RefundStatus.SUCCEEDED]
    sent = {shipment.seller_id for shipment in shipments}
    return bool(sent) and order.sellers <= sent | sellers_left_nothing(order, payment, gone)
