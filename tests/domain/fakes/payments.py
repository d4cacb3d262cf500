"""Payments, and the work on them, in memory."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from domain.errors import Refused
from domain.events import Event
from domain.identity.model import Principal
from domain.ids import OrderId, PaymentId, UserId
from domain.pages import Page, PageRequest
from domain.payments.model import DEAD, PAYMENT_TRANSITIONS, Glance, Payment, PaymentStatus, Sight, Version
from domain.settlement.model import PaymentChange, StuckPayment, StuckReason, WorkState
from domain.work import Work
from tests.domain.fakes.notifications import append_events
from tests.domain.fakes.state import Due, Repository, lease_due, page_of, present_of

_SAVED = (
    "status",
    "failure_code",
    "client_secret",
    "stripe_intent_id",
    "stripe_charge_id",
    "captured_minor",
    "fee_minor",
    "funds_available_at",
    "lookup_only",
    "updated_at",
)
"""What settlement writes of a payment; what was wished for is not taken back by it."""


class FakePayments(Repository):
    async def add(
        self, payments: Sequence[Payment], *, publish_at: datetime, events: Sequence[Event] = ()
    ) -> Mapping[PaymentId, int | None]:
        added: dict[PaymentId, int | None] = {}
        for payment in sorted(payments, key=lambda payment: (payment.payer_id, payment.idempotency_key)):
            is_seller = payment.seller_id is None or payment.seller_id in self._state.rates
            if not is_seller or any(_collide(payment, other) for other in self._state.payments.values()):
                continue
            own = self._state.rates.get(payment.seller_id) if payment.seller_id else None
            commission_bps = payment.commission_bps if own is None else own
            self._state.payments[payment.id] = replace(payment, commission_bps=commission_bps)
            self._state.due[Work.CHARGES][payment.id] = Due(payment.created_at, publish_at)
            added[payment.id] = commission_bps
        append_events(self._state, [event for event in events if event.subject_id in added])
        return added

    async def by_keys(self, keys: Sequence[tuple[UserId, str]]) -> Mapping[tuple[UserId, str], Payment]:
        found = {(p.payer_id, p.idempotency_key): p for p in self._state.payments.values()}
        return present_of(found, keys)

    async def of_order(self, order_id: OrderId) -> Payment | None:
        payments = self._state.payments.values()
        return next((p for p in payments if p.order_id == order_id and p.status is PaymentStatus.SUCCEEDED), None)

    async def visible(self, asked: Sequence[tuple[Principal, PaymentId]]) -> Sequence[Payment | None]:
        return [self._visible(principal, self._state.payments.get(payment_id)) for principal, payment_id in asked]

    async def look(self, glances: Sequence[Glance]) -> Sequence[Sight | None]:
        seen = await self.visible([(glance.principal, glance.payment_id) for glance in glances])
        return [payment and _sight(payment, glance.known) for payment, glance in zip(seen, glances, strict=True)]

    async def ask_for_capture(
        self,
        payment_id: PaymentId,
        amount_minor: int,
        *,
        request_id: str | None = None,
        due_at: datetime,
        publish_at: datetime,
    ) -> None:
        attempts = min(self._state.payments[payment_id].attempts, 1)
        self._ask(payment_id, request_id, due_at, publish_at, capture_minor=amount_minor, attempts=attempts)

    async def ask_for_cancellation(
        self, payment_id: PaymentId, *, request_id: str | None = None, due_at: datetime, publish_at: datetime
    ) -> None:
        self._ask(payment_id, request_id, due_at, publish_at, cancel_requested=True)

    def _ask(
        self,
        payment_id: PaymentId,
        request_id: str | None,
        due_at: datetime,
        publish_at: datetime,
        **wish: Any,
    ) -> None:
        before = self._state.payments[payment_id]
        payment = replace(before, request_id=request_id or before.request_id, **wish)
        if payment.cancel_requested and payment.capture_minor is not None:
            raise Refused("payments_one_wish")
        self._state.payments[payment_id] = payment
        row = self._state.due[Work.CHARGES][payment_id]
        row.due_at, row.publish_at = due_at, publish_at

    async def lock(self, payment_id: PaymentId) -> Payment:
        return self._state.payments[payment_id]

    async def page(
        self, principal: Principal, request: PageRequest, order_id: OrderId | None = None
    ) -> Page[Payment]:
        seen = [payment for payment in self._state.payments.values() if self._visible(principal, payment)]
        return page_of([payment for payment in seen if order_id in {None, payment.order_id}], request)

    def _visible(self, principal: Principal, payment: Payment | None) -> Payment | None:
        if payment is None:
            return None
        order = self._state.orders.get(payment.order_id) if payment.order_id else None
        return payment if principal.sees_all or principal.user_id in payment.parties(order) else None


class FakePaymentWork(Repository):
    async def lease(self, ids: Sequence[PaymentId], now: datetime, locked_until: datetime) -> Sequence[Payment]:
        for payment_id in (leased := lease_due(self._state.due[Work.CHARGES], ids, now, locked_until)):
            payment = self._state.payments[payment_id]
            pending = payment.status is PaymentStatus.PENDING
            self._state.payments[payment_id] = replace(
                payment,
                status=PaymentStatus.PROCESSING if pending else payment.status,
                attempts=payment.attempts + 1,
                first_charged_at=payment.first_charged_at or now,
            )
        return [self._state.payments[payment_id] for payment_id in leased]

    async def by_ids(self, ids: Sequence[PaymentId]) -> Mapping[PaymentId, Payment]:
        return present_of(self._state.payments, ids)

    async def orders_of(self, ids: Collection[PaymentId]) -> Mapping[PaymentId, OrderId | None]:
        return {key: payment.order_id for key, payment in present_of(self._state.payments, ids).items()}

    async def parties_of(self, ids: Collection[PaymentId]) -> Mapping[PaymentId, Collection[UserId]]:
        payments, orders = present_of(self._state.payments, ids), self._state.orders
        return {key: payment.parties(orders.get(payment.order_id)) for key, payment in payments.items()}

    async def lock(self, ids: Sequence[PaymentId]) -> Sequence[tuple[Payment, bool]]:
        return [(p, self._order_has_other(p)) for p in present_of(self._state.payments, sorted(ids)).values()]

    async def save(self, changes: Sequence[PaymentChange]) -> None:
        for change in changes:
            payment, before = change.payment, self._state.payments[change.payment.id]
            moves = payment.status is not before.status
            if payment.captured_minor > payment.amount_minor or (
                moves and payment.status not in PAYMENT_TRANSITIONS[before.status]
            ):
                raise Refused("a constraint of payments")
            self._state.payments[payment.id] = replace(before, **{name: getattr(payment, name) for name in _SAVED})
            self._state.due[Work.CHARGES][payment.id] = Due(change.due_at, change.due_at)
            self._state.quarantined.pop(payment.id, None)

    async def drop_captures(self, ids: Sequence[PaymentId]) -> None:
        for payment_id in ids:
            self._state.payments[payment_id] = replace(self._state.payments[payment_id], capture_minor=None)

    async def quarantine(self, payment_id: PaymentId, reason: str, at: datetime) -> None:
        self._state.quarantined[payment_id] = reason
        self._state.quarantined_at[payment_id] = at
        self._state.due[Work.CHARGES][payment_id] = Due(None, None)

    async def stuck(self, now: datetime, overdue_before: datetime, *, limit: int) -> Sequence[StuckPayment]:
        found = [self._stuck(payment, now, overdue_before) for payment in self._state.payments.values()]
        return sorted((one for one in found if one is not None), key=lambda one: (one.since, one.id))[:limit]

    def _stuck(self, payment: Payment, now: datetime, overdue_before: datetime) -> StuckPayment | None:
        row, detail = self._state.due[Work.CHARGES][payment.id], self._state.quarantined.get(payment.id)
        if detail is not None:
            reason, since = StuckReason.QUARANTINED, self._state.quarantined_at[payment.id]
        elif row.due_at is None:
            return None
        elif row.locked_until is not None and row.locked_until <= now:
            reason, since = StuckReason.LEASE_OVERDUE, row.locked_until
        elif payment.status is PaymentStatus.UNKNOWN:
            reason, since = StuckReason.UNKNOWN, payment.updated_at
        elif row.locked_until is None and row.due_at < overdue_before:
            reason, since = StuckReason.OVERDUE, row.due_at
        else:
            return None
        return StuckPayment(payment.id, payment.status, reason, since, payment.attempts, row.due_at, detail)

    async def work_state(self, payment_id: PaymentId) -> WorkState:
        row = self._state.due[Work.CHARGES][payment_id]
        quarantined_at = self._state.quarantined_at.get(payment_id)
        return WorkState(
            row.due_at, row.locked_until, quarantined_at if payment_id in self._state.quarantined else None
        )

    async def release(self, payment_id: PaymentId, at: datetime) -> None:
        self._state.quarantined.pop(payment_id, None)
        self._state.due[Work.CHARGES][payment_id] = Due(at, at)

    def _order_has_other(self, payment: Payment) -> bool:
        return payment.order_id is not None and any(
            other.order_id == payment.order_id and other.id != payment.id and other.status not in DEAD
            for other in self._state.payments.values()
        )


def _collide(payment: Payment, other: Payment) -> bool:
    same_key = (payment.payer_id, payment.idempotency_key) == (other.payer_id, other.idempotency_key)
    same_order = payment.order_id is not None and payment.order_id == other.order_id
    return same_key or (same_order and other.status not in DEAD)


def _sight(payment: Payment, known: Version | None) -> Sight:
    version = repr(payment), payment.updated_at
    return Sight(None if version == known else payment, version)
