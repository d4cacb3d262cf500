"""Accepting refunds and reading them."""

from datetime import datetime, timedelta

from domain.clock import Clock
from domain.errors import Conflict, IdempotencyMismatch, NotFound
from domain.events import Event, event
from domain.identity.model import Principal
from domain.ids import PaymentId, RefundId, uuid7
from domain.money import check_chargeable
from domain.orders.model import Order
from domain.pages import Page, PageRequest
from domain.payments.model import Payment
from domain.refunds.model import AcceptedRefund, Refund, RefundOrigin, RefundRequest, RefundStatus
from domain.refunds.ports import RefundsTransaction
from domain.refunds.rules import RefundPolicy, check_left, check_may_refund, parts_left, parts_to_refund
from domain.transactions import Begin
from domain.work import Announcer, Work

MAX_REFUNDS = 100
"""How many refunds a payment may have, failed ones included."""


class RefundService:
    """The refunds, as clients see them."""

    def __init__(
        self,
        begin: Begin[RefundsTransaction],
        announcer: Announcer,
        clock: Clock,
        policy: RefundPolicy,
    ) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._announcer = announcer
        self._clock = clock
        self._policy = policy

    async def request(self, principal: Principal, request: RefundRequest) -> AcceptedRefund:
        """Make a refund durable, then announce it; a worker sends it.

        A repeated key with the same payload answers with the refund it made; so a retry is safe. Errors: NotFound
        `payment_not_found`; those of `check_may_refund` and `parts_to_refund`; Invalid `amount_not_chargeable`;
        Conflict `funds_disputed`, `too_many_refunds`; IdempotencyMismatch. Locks the order, then the payment: all
        refunds of a payment wait for each other.
        """
        now = self._clock.now()
        async with self._begin() as tx:
            payment, order = await _lock(tx, principal, request.payment_id)
            earlier = await tx.refunds.by_key(principal.user_id, request.idempotency_key)
            if earlier is None:
                check_may_refund(principal, payment, order, now, self._policy)
                if await tx.disputes.holds_money_of(payment.id):
                    raise Conflict("a dispute has taken the money", code="funds_disputed")
                refund = await _draft(tx, principal, request, payment, order, now=now)
                publish_at = now + timedelta(seconds=self._policy.republish_after_s)
                if await tx.refunds.add([refund], publish_at=publish_at):
                    await tx.events.append([_accepted(refund, payment)])
                    await tx.commit()
                    self._announcer.announce(Work.REFUNDS, [refund.id])
                    return AcceptedRefund(refund, replayed=False)
                # The key was used for another payment, between the look and the insert.
                earlier = await tx.refunds.by_key(principal.user_id, request.idempotency_key)
        if earlier is None or earlier.request_hash != request.fingerprint():
            raise IdempotencyMismatch("this Idempotency-Key was used for another refund")
        return AcceptedRefund(earlier, replayed=True)

    async def get(self, principal: Principal, refund_id: RefundId) -> Refund:
        """Return a refund that the caller may see. Errors: NotFound `refund_not_found`."""
        async with self._begin() as tx:
            refund = await tx.refunds.visible(principal, refund_id)
        if refund is None:
            raise NotFound("there is no such refund", code="refund_not_found")
        return refund

    async def of_payment(self, principal: Principal, payment_id: PaymentId, request: PageRequest) -> Page[Refund]:
        """Return a page of those refunds of a payment that the caller may see, oldest first. Errors: NotFound."""
        async with self._begin() as tx:
            if (await tx.payments.visible([(principal, payment_id)]))[0] is None:
                raise NotFound("there is no such payment", code="payment_not_found")
            return await tx.refunds.visible_of_payment(principal, payment_id, request)


async def _lock(
    tx: RefundsTransaction, principal: Principal, payment_id: PaymentId
) -> tuple[Payment, Order | None]:
    """Lock a payment that the caller may see, its order first."""
    seen = (await tx.payments.visible([(principal, payment_id)]))[0]
    if seen is None:
        raise NotFound("there is no such payment", code="payment_not_found")
    orders = await tx.orders.lock([seen.order_id]) if seen.order_id is not None else {}
    payment = await tx.payments.lock(payment_id)
    return payment, orders[seen.order_id] if seen.order_id is not None else None


async def _draft(
    tx: RefundsTransaction,
    principal: Principal,
    request: RefundRequest,
    payment: Payment,
    order: Order | None,
    *,
    now: datetime,
) -> Refund:
    others = await tx.refunds.of_payment(payment.id)
    if len(others) >= MAX_REFUNDS:
        raise Conflict(f"a payment has at most {MAX_REFUNDS} refunds", code="too_many_refunds")
    left = parts_left(payment, order, others)
    if left or request.lines:
        shipments = (await tx.shipments.of_orders([order.id]))[order.id] if order is not None else ()
        shipped_by = {shipment.seller_id for shipment in shipments}
        lines = parts_to_refund(
            principal, request, order, currency=payment.currency, left=left, shipped_by=shipped_by
        )
        amount_minor = sum(part.amount_minor for part in lines)
    else:  # the payment paid for nothing, so nothing of it falls on a line
        lines = []
        amount_minor = check_left(
            request.amount_minor, payment.captured_minor - payment.refunded_minor, payment.currency
        )
    check_chargeable(amount_minor, payment.currency)
    return Refund(
        id=RefundId(uuid7()),
        payment_id=payment.id,
        origin=RefundOrigin.REQUESTED,
        stripe_charge_id=payment.stripe_charge_id or payment.stripe_intent_id or "",
        amount_minor=amount_minor,
        currency=payment.currency,
        status=RefundStatus.PENDING,
        reason=request.reason,
        created_at=now,
        updated_at=now,
        lines=tuple(lines),
        requested_by=principal.user_id,
        idempotency_key=request.idempotency_key,
        request_hash=request.fingerprint(),
        traceparent=request.traceparent,
        request_id=request.request_id,
    )


def _accepted(refund: Refund, payment: Payment) -> Event:
    return event(
        "refund.accepted",
        payment.id,
        refund.created_at,
        audience=refund.parties(payment),
        refund_id=refund.id,
        requested_by=refund.requested_by,
        amount_minor=refund.amount_minor,
        currency=refund.currency,
        reason=refund.reason,
    )
