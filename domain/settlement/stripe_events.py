"""Stripe's webhooks, processed: whatever they report ends in the same settlement."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from domain.clock import Clock
from domain.coalescer import Coalescer
from domain.payments.model import DEAD, Payment
from domain.settlement.charges import conclude
from domain.settlement.model import (
    Answer,
    IntentStatus,
    Outcome,
    SettlementPolicy,
    StripeEvent,
    StripeEventStatus,
)
from domain.settlement.ports import ChargeGateway, SettlementTransaction
from domain.settlement.stripe_objects import JsonObject, read_event_object, read_intent, read_payment_id
from domain.transactions import Begin

INTENT_EVENTS = frozenset(
    {
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "payment_intent.canceled",
        "payment_intent.requires_action",
        "payment_intent.amount_capturable_updated",
    }
)
CHARGE_UPDATED = "charge.updated"
"""Stripe's word that a charge's balance transaction, and with it the fee, is there now."""


@dataclass(frozen=True, slots=True)
class _Report:
    """An event that concerns one of our payments."""

    event: StripeEvent
    raw: JsonObject
    payment: Payment


class StripeEventService:
    """The work of the queue `stripe_events`."""

    def __init__(
        self,
        begin: Begin[SettlementTransaction],
        gateway: ChargeGateway,
        settle: Coalescer[Outcome, bool],
        clock: Clock,
        policy: SettlementPolicy,
    ) -> None:
        """Keep the collaborators; `settle` groups the outcomes of all batches of this process."""
        self._begin = begin
        self._gateway = gateway
        self._settle = settle
        self._clock = clock
        self._policy = policy

    async def process(self, event_ids: Sequence[str]) -> int:
        """Settle what stored events report; return how many were leased.

        Safe to repeat: an event whose processing was cut off is processed again, and its settlement is no
        news then.
        """
        leased = await self._lease(event_ids)
        if not leased:
            return 0
        reports, statuses = await self._sort_out(leased)
        done = await asyncio.gather(*(self._settle_one(report) for report in reports))
        statuses.update({report.event.id: status for report, status in zip(reports, done, strict=True)})
        async with self._begin() as tx:
            await tx.stripe_events.finish(statuses, self._clock.now())
            await tx.commit()
        return len(leased)

    async def _lease(self, event_ids: Sequence[str]) -> Sequence[StripeEvent]:
        now = self._clock.now()
        async with self._begin() as tx:
            leased = await tx.stripe_events.lease(
                sorted(event_ids), now, now + timedelta(seconds=self._policy.lease_s)
            )
            await tx.commit()
        return leased

    async def _sort_out(self, events: Sequence[StripeEvent]) -> tuple[list[_Report], dict[str, StripeEventStatus]]:
        """Separate the events about our payments from those that are nothing to us."""
        statuses: dict[str, StripeEventStatus] = {}
        objects: dict[str, JsonObject] = {}
        for event in events:
            if event.type not in INTENT_EVENTS | {CHARGE_UPDATED}:
                statuses[event.id] = StripeEventStatus.IGNORED
                continue
            try:
                objects[event.id] = read_event_object(event.body)
            except (ValueError, KeyError, TypeError):
                statuses[event.id] = StripeEventStatus.QUARANTINED
        wanted = {key: payment_id for key, raw in objects.items() if (payment_id := read_payment_id(raw))}
        async with self._begin() as tx:
            payments = await tx.payment_work.by_ids(sorted(set(wanted.values())))
        reports = []
        for event in events:
            payment = payments.get(wanted[event.id]) if event.id in wanted else None
            if payment is not None:
                reports.append(_Report(event, objects[event.id], payment))
            elif event.id in objects:
                statuses[event.id] = StripeEventStatus.UNMATCHED
        return reports, statuses

    async def _settle_one(self, report: _Report) -> StripeEventStatus:
        try:
            answer = await self._answer(report)
        except (KeyError, ValueError, TypeError):
            return StripeEventStatus.QUARANTINED
        if answer is not None:
            await self._settle.submit(Outcome(report.payment.id, answer))
        return StripeEventStatus.PROCESSED

    async def _answer(self, report: _Report) -> Answer | None:
        """Return what the event tells about its payment; None when that is known already."""
        payment = report.payment
        if report.event.type == CHARGE_UPDATED:
            waits_for_fee = payment.captured_minor and payment.fee_minor is None
            return await self._gateway.retrieve(payment) if waits_for_fee else None
        intent = read_intent(report.raw)
        if payment.fee_minor is not None and intent.intent_id == payment.stripe_intent_id:
            return None  # booked to the last cent
        over = bool(payment.captured_minor) or payment.status in DEAD
        if over and intent.status is not IntentStatus.SUCCEEDED:
            return None
        return await conclude(self._gateway, payment.id, intent)
