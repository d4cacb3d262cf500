"""Whose the money of a payment is, by line of what was sold."""

from collections.abc import Sequence

from domain.ledger.postings import Share
from domain.orders.model import Order
from domain.payments.model import Payment


def shares_of(payment: Payment, order: Order | None) -> Sequence[Share]:
    """Return what was sold, by line: of the payment's order, or the one share of a direct payment."""
    if order is not None:
        return [Share(line.seller_id, line.amount_minor, line.commission_bps) for line in order.lines]
    assert payment.seller_id is not None  # noqa: S101 - a CHECK of the table holds it
    assert payment.commission_bps is not None  # noqa: S101 - the same
    return [Share(payment.seller_id, payment.amount_minor, payment.commission_bps)]
