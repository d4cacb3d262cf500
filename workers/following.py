"""Joins a worker's spans and logs with the request that asked for the work.

The ids come with the row, so it does not matter what announced it: a message, the sweeper or a webhook.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from structlog.contextvars import bound_contextvars

from domain.notifications.model import LeasedDelivery
from domain.payments.model import Payment
from domain.payouts.model import Payout
from domain.refunds.model import Refund
from domain.sellers.model import SellerAccount
from ops.telemetry import PAYMENT_ID, REQUEST_ID
from ops.tracing import span_of_row


@contextmanager
def follow_payment(payment: Payment, step: str) -> Iterator[None]:
    """Enter the trace of the request that made a payment, for one step of its work; logs get the ids of both."""
    payment_id = str(payment.id)
    with (
        _about(payment_id, payment.request_id),
        span_of_row(payment.traceparent, f"payment {step}", {"payment.id": payment_id}),
    ):
        yield


@contextmanager
def follow_refund(refund: Refund) -> Iterator[None]:
    """Enter the trace of the request that asked for a refund; logs bear its id, its payment's and the refund's."""
    payment_id, refund_id = str(refund.payment_id), str(refund.id)
    with (
        _about(payment_id, refund.request_id),
        bound_contextvars(refund_id=refund_id),
        span_of_row(refund.traceparent, "refund", {"refund.id": refund_id, "payment.id": payment_id}),
    ):
        yield


@contextmanager
def follow_payout(payout: Payout) -> Iterator[None]:
    """Enter the trace of the request that asked for a payout, where one did; logs bear the ids of both."""
    payout_id = str(payout.id)
    with (
        _about(None, payout.request_id),
        bound_contextvars(payout_id=payout_id),
        span_of_row(payout.traceparent, "payout", {"payout.id": payout_id}),
    ):
        yield


@contextmanager
def follow_account(account: SellerAccount) -> Iterator[None]:
    """Enter the trace of the request that asked last for a seller's account; logs bear its id and the seller's."""
    seller_id = str(account.seller_id)
    with (
        _about(None, account.request_id),
        bound_contextvars(seller_id=seller_id),
        span_of_row(account.traceparent, "onboarding", {"seller.id": seller_id}),
    ):
        yield


@contextmanager
def follow_delivery(delivery: LeasedDelivery) -> Iterator[None]:
    """Enter the trace of the request that asked for what a delivery tells of; as of `follow_payment`."""
    facts: dict[str, str | int] = {
        "event.type": delivery.event_type,
        "delivery.id": str(delivery.id),
        "webhook_endpoint.id": str(delivery.endpoint_id),
        "delivery.attempt": delivery.attempts,
    }
    origin = delivery.origin
    if origin is None:
        yield
        return
    with (
        _about(str(origin.payment_id) if origin.payment_id else None, origin.request_id),
        span_of_row(origin.traceparent, "webhook delivery", facts),
    ):
        yield


@contextmanager
def _about(payment_id: str | None, request_id: str | None) -> Iterator[None]:
    payment_before, request_before = PAYMENT_ID.set(payment_id), REQUEST_ID.set(request_id)
    try:
        yield
    finally:
        REQUEST_ID.reset(request_before)
        PAYMENT_ID.reset(payment_before)
