"""A worker's spans and logs are joined with the request that asked for the work.

The ids come with the row, so it does not matter who told of it: a message, the sweeper or a webhook.
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
    """Enter the trace of the request that made a payment, for one step of its work; logs bear the ids of both."""
    payment_id = str(payment.id)
    with (
        _about(payment_id, payment.request_id),
        span_of_row(payment.traceparent, f"payment {step}", {"payment.id": payment_id}),
    ):
        yield


@contextmanager
def follow_refund(refund: Refund) -> Iterator[None]:
    """Let logs bear the ids of a refund, of its payment, and of the request that asked for it."""
    with _about(str(refund.payment_id), refund.request_id), bound_contextvars(refund_id=str(refund.id)):
        yield


@contextmanager
def follow_payout(payout: Payout) -> Iterator[None]:
    """Let logs bear the ids of a payout and of the request that asked for it, where one did."""
    with _about(None, payout.request_id), bound_contextvars(payout_id=str(payout.id)):
        yield


@contextmanager
def follow_account(account: SellerAccount) -> Iterator[None]:
    """Let logs bear the ids of a seller whose account is worked at, and of the request that asked for it last."""
    with _about(None, account.request_id), bound_contextvars(seller_id=str(account.seller_id)):
        yield


@contextmanager
def follow_delivery(delivery: LeasedDelivery) -> Iterator[None]:
    """Enter the trace of the request that made the payment which a delivery tells of; as of `follow_payment`."""
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
        _about(str(origin.payment_id), origin.request_id),
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
