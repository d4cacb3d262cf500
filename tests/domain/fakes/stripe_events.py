"""Stripe's events, in memory."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from domain.settlement.model import Arrival, ChargeReport, EventWindow, StripeEvent, StripeEventStatus
from domain.work import Work
from tests.domain.fakes.state import Due, Repository, State, count_attempt, lease_due, present_of


class FakeStripeEvents(Repository):
    async def add(self, events: Sequence[StripeEvent], *, publish_at: datetime) -> Mapping[str, Arrival]:
        new = {event.id: event for event in events if event.id not in self._state.stripe_events}
        for event in new.values():
            self._state.stripe_events[event.id] = replace(event, report=None)
            self._state.stripe_statuses[event.id] = StripeEventStatus.RECEIVED
            self._state.due[Work.STRIPE_EVENTS][event.id] = Due(event.received_at, publish_at)
        arrivals = {event.id: self._arrival(event) for event in new.values()}
        for event_id, arrival in arrivals.items():
            if arrival is Arrival.TOLD:
                await self.finish({event_id: StripeEventStatus.PROCESSED}, new[event_id].received_at)
        return arrivals

    def _arrival(self, event: StripeEvent) -> Arrival:
        if self._is_booked(event.report):
            return Arrival.TOLD
        due = self._state.due[Work.CHARGES].get(event.report.payment_id) if event.report else None
        is_held = due is not None and due.locked_until is not None and due.locked_until > event.received_at
        return Arrival.AWAITED if is_held else Arrival.NEWS

    def _is_booked(self, report: ChargeReport | None) -> bool:
        payment = self._state.payments.get(report.payment_id) if report is not None else None
        if report is None or payment is None or payment.fee_minor is None:
            return False
        return report.object_id in {payment.stripe_intent_id, payment.stripe_charge_id}

    async def lease(self, ids: Sequence[str], now: datetime, locked_until: datetime) -> Sequence[StripeEvent]:
        leased = lease_due(self._state.due[Work.STRIPE_EVENTS], ids, now, locked_until)
        return [count_attempt(self._state.stripe_events, event_id) for event_id in leased]

    async def lease_newest(self, limit: int, now: datetime, locked_until: datetime) -> Sequence[StripeEvent]:
        due = self._state.due[Work.STRIPE_EVENTS]
        untried = [e for e in self._state.stripe_events.values() if not e.attempts and due[e.id].is_free(now)]
        newest = sorted(untried, key=lambda event: event.received_at, reverse=True)[:limit]
        return await self.lease([event.id for event in newest], now, locked_until)

    async def finish(self, statuses: Mapping[str, StripeEventStatus], at: datetime) -> None:
        for event_id, status in statuses.items():
            self._state.stripe_statuses[event_id] = status
            self._state.stripe_handled[event_id] = at
            self._state.due[Work.STRIPE_EVENTS][event_id] = Due(None, None)

    async def finish_booked(self, reports: Mapping[str, ChargeReport], at: datetime) -> Collection[str]:
        due, events = self._state.due[Work.STRIPE_EVENTS], present_of(self._state.stripe_events, reports)
        booked = {
            event_id
            for event_id, event in events.items()
            if self._is_booked(reports[event_id]) and due[event_id].due_at and not event.attempts
        }
        await self.finish(dict.fromkeys(booked, StripeEventStatus.PROCESSED), at)
        return booked

    async def missing(self, ids: Sequence[str]) -> Collection[str]:
        return set(ids) - self._state.stripe_events.keys()

    async def again(self, window: EventWindow, *, handled_before: datetime, now: datetime, limit: int) -> int:
        handled = self._state.stripe_handled
        past = [e for e in _within(window, self._state) if e.id in handled and handled[e.id] < handled_before]
        chosen = sorted(past, key=lambda event: handled[event.id])[:limit]
        for event in chosen:
            self._state.stripe_events[event.id] = replace(event, attempts=0)
            self._state.stripe_statuses[event.id] = StripeEventStatus.RECEIVED
            self._state.due[Work.STRIPE_EVENTS][event.id] = Due(now, now)
            del handled[event.id]
        return len(chosen)

    async def count(self, window: EventWindow, *, handled_since: datetime) -> Mapping[StripeEventStatus, int]:
        handled = self._state.stripe_handled
        return Counter(
            self._state.stripe_statuses[event.id]
            for event in _within(window, self._state)
            if event.id not in handled or handled[event.id] >= handled_since
        )

    async def prune(self, before: datetime, *, limit: int) -> int:
        handled = self._state.stripe_handled
        old = [
            event_id
            for event_id, status in self._state.stripe_statuses.items()
            if status not in {StripeEventStatus.RECEIVED, StripeEventStatus.QUARANTINED}
            and handled[event_id] < before
        ]
        gone = sorted(old, key=lambda event_id: handled[event_id])[:limit]
        for event_id in gone:
            del self._state.stripe_events[event_id], self._state.stripe_statuses[event_id], handled[event_id]
            del self._state.due[Work.STRIPE_EVENTS][event_id]
        return len(gone)


def _within(window: EventWindow, state: State) -> list[StripeEvent]:
    kind = window.type or "*"
    return [
        event
        for event in state.stripe_events.values()
        if window.since <= event.received_at < window.until
        and (event.type.startswith(kind[:-1]) if kind.endswith("*") else event.type == kind)
    ]
