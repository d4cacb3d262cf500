"""Accepting payments and reading them. `accept` and `look` take whole batches: all that wait at one moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from domain.batches import halving
from domain.clock import Clock
from domain.errors import Conflict, DomainError, IdempotencyMismatch, Invalid, NotFound, Refused
from domain.events import Event, event
from domain.identity.model import Principal, Role, check_role
from domain.ids import OrderId, PaymentId, uuid7
from domain.money import check_amount
from domain.orders.model import Order, OrderStatus
from domain.pages import Page, PageRequest
from domain.payments.model import AcceptedPayment, Glance, Payment, PaymentRequest, PaymentStatus, Sight
from domain.payments.ports import PaymentsTransaction
from domain.transactions import Begin
from domain.work import Announcer, Work


@dataclass(frozen=True, slots=True)
class PaymentPolicy:
    """The settings of accepting: basis points, minor units, seconds."""

    commission_bps: int
    max_amount_minor: int
    republish_after_s: float


class PaymentService:
    """The payments, as clients see them."""

    def __init__(
        self,
        begin: Begin[PaymentsTransaction],
        announcer: Announcer,
        clock: Clock,
        policy: PaymentPolicy,
        *,
        each: Begin[PaymentsTransaction] | None = None,
    ) -> None:
        """Keep the collaborators; `each` gives every statement its own transaction, which is cheaper for one."""
        self._begin = begin
        self._each = each or begin
        self._announcer = announcer
        self._clock = clock
        self._policy = policy

    async def accept(self, requests: Sequence[PaymentRequest]) -> list[AcceptedPayment | DomainError]:
        """Make payments durable in one commit, then announce them; return an answer for each request, in order.

        A key that comes again with the same payload is answered with the payment that it made, so a retry is safe.
        One request's error leaves the others alone: Forbidden for a payer who is no buyer; Invalid for the amount,
        the currency or an unknown seller; NotFound `order_not_found`; Conflict `order_not_payable` or
        `payment_in_progress`; IdempotencyMismatch; Refused by the database. For all of them Unavailable
        `database_unavailable` is raised. Locks the orders, sorted by id.
        """
        return await halving(requests, self._accept, _answer_refused)

    async def _accept(self, requests: Sequence[PaymentRequest]) -> list[AcceptedPayment | DomainError]:
        now = self._clock.now()
        # PERF: without an order to lock, one statement is the whole transaction.
        begin = self._begin if any(request.order_id for request in requests) else self._each
        async with begin() as tx:
            orders = await _lock_orders(tx, requests)
            drafts = [self._draft(request, orders, now) for request in requests]
            payments = [draft for draft in drafts if isinstance(draft, Payment)]
            added = await tx.payments.add(
                payments,
                publish_at=now + timedelta(seconds=self._policy.republish_after_s),
                events=[_accepted_event(payment, orders) for payment in payments],
            )
            answers = await _answer(tx, requests, drafts, added)
            await tx.commit()
        if added:
            self._announcer.announce(Work.CHARGES, sorted(added))
        return answers

    async def look(self, glances: Sequence[Glance]) -> list[Sight | DomainError]:
        """Return what each glance sees, in order; NotFound for a payment that its reader may not see."""
        async with self._each() as tx:
            seen = await tx.payments.look(glances)
        return [sight or NotFound("there is no such payment", code="payment_not_found") for sight in seen]

    async def page(
        self, principal: Principal, request: PageRequest, order_id: OrderId | None = None
    ) -> Page[Payment]:
        """Return a page of the payments that the caller may see, of one order if given, newest first."""
        async with self._begin() as tx:
            return await tx.payments.page(principal, request, order_id)

    async def events(self, principal: Principal, payment_id: PaymentId, request: PageRequest) -> Page[Event]:
        """Return a page of a payment's events that concern the caller, oldest first. Errors: NotFound."""
        async with self._begin() as tx:
            if (await tx.payments.visible([(principal, payment_id)]))[0] is None:
                raise NotFound("there is no such payment", code="payment_not_found")
            concerning = None if principal.sees_all else principal.user_id
            return await tx.events.of_subject(payment_id, request, concerning=concerning)

    def _draft(
        self, request: PaymentRequest, orders: Mapping[OrderId, Order], now: datetime
    ) -> Payment | DomainError:
        try:
            check_role(request.payer_role, Role.BUYER)
            amount_minor, currency, commission_bps = (
                self._direct_terms(request) if request.seller_id is not None else _order_terms(request, orders)
            )
        except DomainError as refusal:
            return refusal
        return Payment(
            id=PaymentId(uuid7()),
            payer_id=request.payer_id,
            order_id=request.order_id,
            seller_id=request.seller_id,
            amount_minor=amount_minor,
            currency=currency,
            commission_bps=commission_bps,
            payment_method=request.payment_method,
            capture=request.capture,
            status=PaymentStatus.PENDING,
            idempotency_key=request.idempotency_key,
            request_hash=request.fingerprint(),
            created_at=now,
            updated_at=now,
            traceparent=request.traceparent,
            request_id=request.request_id,
        )

    def _direct_terms(self, request: PaymentRequest) -> tuple[int, str, int]:
        if request.amount_minor is None or request.currency is None:
            raise Invalid("a direct payment needs an amount and a currency", code="amount_missing")
        check_amount(request.amount_minor, request.currency, max_minor=self._policy.max_amount_minor)
        return request.amount_minor, request.currency, self._policy.commission_bps


async def _lock_orders(tx: PaymentsTransaction, requests: Sequence[PaymentRequest]) -> Mapping[OrderId, Order]:
    order_ids = {request.order_id for request in requests if request.order_id is not None}
    return await tx.orders.lock(sorted(order_ids)) if order_ids else {}


def _order_terms(request: PaymentRequest, orders: Mapping[OrderId, Order]) -> tuple[int, str, None]:
    order = orders.get(request.order_id) if request.order_id is not None else None
    if order is None or order.buyer_id != request.payer_id:
        raise NotFound("there is no such order", code="order_not_found")
    if order.status is not OrderStatus.PENDING:
        raise Conflict(f"the order is {order.status}", code="order_not_payable", order_status=str(order.status))
    return order.amount_minor, order.currency, None


async def _answer(
    tx: PaymentsTransaction,
    requests: Sequence[PaymentRequest],
    drafts: Sequence[Payment | DomainError],
    added: Mapping[PaymentId, int | None],
) -> list[AcceptedPayment | DomainError]:
    """Return for each request its new payment, the payment that it made before, or why it is refused.

    What was not added is looked up by its key first: a repeated request gets its payment again, even if its order
    has been paid meanwhile.
    """
    left_out = [
        (request.payer_id, request.idempotency_key)
        for request, draft in zip(requests, drafts, strict=True)
        if isinstance(draft, DomainError) or draft.id not in added
    ]
    earlier = await tx.payments.by_keys(left_out) if left_out else {}
    return [
        AcceptedPayment(_with_commission(draft, added[draft.id]), replayed=False)
        if isinstance(draft, Payment) and draft.id in added
        else _answer_left_out(request, draft, earlier.get((request.payer_id, request.idempotency_key)))
        for request, draft in zip(requests, drafts, strict=True)
    ]


def _with_commission(draft: Payment, commission_bps: int | None) -> Payment:
    return draft if draft.commission_bps == commission_bps else replace(draft, commission_bps=commission_bps)


async def _answer_refused(_: PaymentRequest, refused: Refused) -> AcceptedPayment | DomainError:
    return refused


def _answer_left_out(
    request: PaymentRequest, draft: Payment | DomainError, earlier: Payment | None
) -> AcceptedPayment | DomainError:
    if earlier is not None:
        if earlier.request_hash != request.fingerprint():
            return IdempotencyMismatch("this Idempotency-Key was used for another payment")
        return AcceptedPayment(earlier, replayed=True)
    if isinstance(draft, DomainError):
        return draft
    if draft.seller_id is not None:
        return Invalid("there is no such seller", code="seller_not_found")
    return Conflict("the order has a live payment", code="payment_in_progress")


def _accepted_event(payment: Payment, orders: Mapping[OrderId, Order]) -> Event:
    order = orders[payment.order_id] if payment.order_id is not None else None
    return event(
        "payment.accepted",
        payment.id,
        payment.created_at,
        audience=payment.parties(order),
        order_id=payment.order_id,
        seller_id=payment.seller_id,
        amount_minor=payment.amount_minor,
        currency=payment.currency,
        request_id=payment.request_id,
    )
