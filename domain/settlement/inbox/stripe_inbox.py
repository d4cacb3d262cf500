"""The inbox of Stripe's webhooks: every signed event is stored raw, once, before it is answered."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta

from domain.clock import Clock
from domain.errors import Unavailable
from domain.settlement.model import Arrival, ChargeReport, StripeEvent
from domain.settlement.ports import SettlementTransaction
from domain.transactions import Begin
from domain.work import Announcer, Work

_PAGE = 2_000
_MAX_PAGES = 50


class StripeInbox:
    """The webhook endpoint's side of Stripe's events."""

    def __init__(
        self,
        begin: Begin[SettlementTransaction],
        announcer: Announcer,
        clock: Clock,
        *,
        republish_after_s: float,
        hold_s: float = 0.0,
    ) -> None:
        """Keep the collaborators; the sweeper announces after `republish_after_s` what is not processed yet.

        AWAITED events are held for `hold_s` seconds before they are announced.
        """
        self._begin = begin
        self._announcer = announcer
        self._clock = clock
        self._republish_after = timedelta(seconds=republish_after_s)
        self._hold_s = hold_s
        self._held: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()

    async def receive(self, events: Sequence[StripeEvent]) -> list[bool]:
        """Store events in one commit; return for each whether it was new. A repeated event changes nothing.

        Most events repeat what the answer to the charge has said, or is about to say. They need no worker: they
        are finished when they are stored (TOLD), or by a second look once the answer is booked (AWAITED).
        """
        async with self._begin() as tx:
            added = await tx.stripe_events.add(events, publish_at=self._clock.now() + self._republish_after)
            await tx.commit()
        awaited = {
            event.id: event.report
            for event in events
            if event.report is not None and added.get(event.id) is Arrival.AWAITED and self._hold_s
        }
        waiting = {event_id for event_id, arrival in added.items() if arrival is not Arrival.TOLD}
        if news := sorted(waiting - awaited.keys()):
            self._announcer.announce(Work.STRIPE_EVENTS, news)
        if awaited:
            holding = asyncio.get_running_loop().create_task(self._hold(awaited))
            self._held.add(holding)
            holding.add_done_callback(self._held.discard)
        first = {event.id: index for index, event in reversed(list(enumerate(events)))}
        return [event.id in added and first[event.id] == index for index, event in enumerate(events)]

    async def close(self) -> None:
        """Take the second look at held events now, announce those that are left, and wait for both."""
        self._closing.set()
        if self._held:
            await asyncio.wait(self._held)

    async def _hold(self, awaited: Mapping[str, ChargeReport]) -> None:
        """Wait for `hold_s`, finish the events whose payments are booked by then, and announce the others.

        PERF: a webhook often comes before the commit of what Stripe's answer said. One statement finishes many
        events here, and no worker reads them. The sweeper announces what gets lost here.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), self._hold_s)
        finished: Collection[str] = ()
        with suppress(Unavailable):
            async with self._begin() as tx:
                finished = await tx.stripe_events.finish_booked(awaited, self._clock.now())
                await tx.commit()
        if left := sorted(awaited.keys() - set(finished)):
            self._announcer.announce(Work.STRIPE_EVENTS, left)


class StripeEventUpkeep:
    """Deletes events that were handled long ago, but not those in quarantine, which wait for a person."""

    def __init__(self, begin: Begin[SettlementTransaction], clock: Clock, *, kept_s: float) -> None:
        """Keep the collaborators and for how many seconds handled events are kept."""
        self._begin = begin
        self._clock = clock
        self._kept = timedelta(seconds=kept_s)

    async def prune(self) -> int:
        """Delete old events, page by page, at most 100,000; return how many. Safe to repeat.

        An event that Stripe sends again after it was forgotten is processed again, and is no news then.
        """
        deleted = 0
        for _ in range(_MAX_PAGES):
            async with self._begin() as tx:
                page = await tx.stripe_events.prune(self._clock.now() - self._kept, limit=_PAGE)
                await tx.commit()
            deleted += page
            if page < _PAGE:
                break
        return deleted
