"""Refunds and disputes, in memory."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from domain.disputes.model import DISPUTE_TRANSITIONS, GONE, OPEN, Dispute, DisputeFunds, DisputeStatus
from domain.errors import Refused
from domain.identity.model import Principal
from domain.ids import DisputeId, PaymentId, RefundId, UserId
from domain.pages import Page, PageRequest
from domain.refunds.model import REFUND_TRANSITIONS, Refund, RefundOrigin, RefundStatus
from domain.settlement.model import Returned
from domain.work import Work
from tests.domain.fakes.state import Due, Repository, State, count_attempt, lease_due, ordered_page_of, page_of


class FakeRefunds(Repository):
    async def add(self, refunds: Sequence[Refund], *, publish_at: datetime) -> Collection[RefundId]:
        added = set()
        for refund in refunds:
            key = (refund.requested_by, refund.idempotency_key)
            if refund.requested_by is not None and await self.by_key(*key):
                continue
            self._check_start(refund)
            self._state.refunds[refund.id] = refund
            self._state.due[Work.REFUNDS][refund.id] = Due(refund.created_at, publish_at)
            _count_refunds(self._state, refund.payment_id)
            added.add(refund.id)
        return added

    async def by_key(self, requested_by: UserId, idempotency_key: str) -> Refund | None:
        refunds = self._state.refunds.values()
        key = (requested_by, idempotency_key)
        return next((r for r in refunds if (r.requested_by, r.idempotency_key) == key), None)

    async def of_payment(self, payment_id: PaymentId) -> Sequence[Refund]:
        found = [refund for refund in self._state.refunds.values() if refund.payment_id == payment_id]
        return sorted(found, key=lambda refund: refund.id)

    async def visible(self, principal: Principal, refund_id: RefundId) -> Refund | None:
        refund = self._state.refunds.get(refund_id)
        if refund is None:
            return None
        parties = {self._state.payments[refund.payment_id].payer_id, *(part.seller_id for part in refund.lines)}
        return refund if principal.sees_all or principal.user_id in parties else None

    async def visible_of_payment(
        self, principal: Principal, payment_id: PaymentId, request: PageRequest
    ) -> Page[Refund]:
        refunds = await self.of_payment(payment_id)
        return ordered_page_of([each for each in refunds if await self.visible(principal, each.id)], request)

    def _check_start(self, refund: Refund) -> None:
        if refund.status is RefundStatus.PENDING:
            return
        of_stripe = refund.origin is RefundOrigin.EXTERNAL and refund.stripe_refund_id is not None
        fits = refund.amount_minor <= self._state.payments[refund.payment_id].captured_minor
        if refund.status is not RefundStatus.FAILED or refund.is_booked or not of_stripe or not fits:
            raise Refused("refunds_start")


class FakeDisputes(Repository):
    async def by_stripe_id(self, stripe_dispute_id: str) -> Dispute | None:
        disputes = self._state.disputes.values()
        return next((dispute for dispute in disputes if dispute.stripe_dispute_id == stripe_dispute_id), None)

    async def save(self, dispute: Dispute) -> None:
        before = self._state.disputes.get(dispute.id, dispute)
        if dispute.status is not before.status and dispute.status not in DISPUTE_TRANSITIONS[before.status]:
            raise Refused("a constraint of disputes")
        self._state.disputes[dispute.id] = dispute

    async def of_payment(self, payment_id: PaymentId) -> Sequence[Dispute]:
        of_payment = [d for d in self._state.disputes.values() if d.payment_id == payment_id]
        return sorted(of_payment, key=lambda dispute: dispute.id)

    async def holds_money_of(self, payment_id: PaymentId) -> bool:
        of_payment = [d for d in self._state.disputes.values() if d.payment_id == payment_id]
        return any(d.funds in GONE or d.status in OPEN for d in of_payment)

    async def visible(self, principal: Principal, dispute_id: DisputeId) -> Dispute | None:
        dispute = self._state.disputes.get(dispute_id)
        return dispute if dispute and (principal.sees_all or self._sells(principal, dispute)) else None

    async def page(
        self, principal: Principal, request: PageRequest, status: DisputeStatus | None
    ) -> Page[Dispute]:
        found = [d for d in self._state.disputes.values() if await self.visible(principal, d.id)]
        return page_of([d for d in found if status in {None, d.status}], request)

    def _sells(self, principal: Principal, dispute: Dispute) -> bool:
        payment = self._state.payments[dispute.payment_id]
        order = self._state.orders.get(payment.order_id) if payment.order_id else None
        return principal.user_id in (order.sellers if order else {payment.seller_id})


class FakeRefundWork(Repository):
    async def lease(self, ids: Sequence[RefundId], now: datetime, locked_until: datetime) -> Sequence[Refund]:
        leased = lease_due(self._state.due[Work.REFUNDS], ids, now, locked_until)
        for refund_id in leased:
            refund = count_attempt(self._state.refunds, refund_id)
            self._state.refunds[refund_id] = replace(refund, first_sent_at=refund.first_sent_at or now)
        return [self._state.refunds[refund_id] for refund_id in leased]

    async def find(self, refund_id: RefundId | None, stripe_refund_id: str | None) -> Refund | None:
        refunds = self._state.refunds
        known = next((r for r in refunds.values() if r.stripe_refund_id == stripe_refund_id is not None), None)
        return known or (refunds.get(refund_id) if refund_id is not None else None)

    async def lock(self, refund_id: RefundId) -> Refund:
        return self._state.refunds[refund_id]

    async def save(self, refund: Refund, *, due_at: datetime | None) -> None:
        before = self._state.refunds[refund.id]
        if refund.status is not before.status and refund.status not in REFUND_TRANSITIONS[before.status]:
            raise Refused("a constraint of refunds")
        self._state.refunds[refund.id] = refund
        self._state.due[Work.REFUNDS][refund.id] = Due(due_at, due_at)
        self._state.quarantined_refunds.pop(refund.id, None)
        _count_refunds(self._state, refund.payment_id)

    async def quarantine(self, refund_id: RefundId, reason: str, at: datetime) -> None:
        self._state.quarantined_refunds[refund_id] = reason
        self._state.due[Work.REFUNDS][refund_id] = Due(None, None)

    async def returned(self, payment_id: PaymentId) -> Returned:
        refunds = [refund for refund in self._state.refunds.values() if refund.payment_id == payment_id]
        disputes = [dispute for dispute in self._state.disputes.values() if dispute.payment_id == payment_id]
        return Returned(
            refunded_minor=sum(r.amount_minor for r in refunds if r.status is RefundStatus.SUCCEEDED),
            lost_minor=sum(d.withdrawn_minor for d in disputes if d.funds is DisputeFunds.LOST),
            is_disputed=any(d.status in OPEN for d in disputes),
        )


def _count_refunds(state: State, payment_id: PaymentId) -> None:
    """What triggers count, and a CHECK holds to what was captured."""
    refunds = [refund for refund in state.refunds.values() if refund.payment_id == payment_id]
    refunded_minor = sum(refund.amount_minor for refund in refunds if refund.status is not RefundStatus.FAILED)
    payment = state.payments[payment_id]
    if refunded_minor > payment.captured_minor:
        raise Refused("payments_refunded")
    state.payments[payment_id] = replace(payment, refunded_minor=refunded_minor)
