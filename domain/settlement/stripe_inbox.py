"""The inbox of Stripe's webhooks: every signed event is stored raw, once, before Stripe is thanked."""

from collections.abc import Sequence
from datetime import timedelta

from domain.clock import Clock
from domain.payments.ports import Announcer, Work
from domain.settlement.model import StripeEvent
from domain.settlement.ports import SettlementTransaction
from domain.transactions import Begin

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
    ) -> None:
        """Keep the collaborators and after how many seconds the sweeper announces what was not processed."""
        self._begin = begin
        self._announcer = announcer
        self._clock = clock
        self._republish_after = timedelta(seconds=republish_after_s)

    async def receive(self, events: Sequence[StripeEvent]) -> list[bool]:
        """Store events in one commit; tell for each whether it was new. A repeated event changes nothing.

        Most tell what the answer to the charge has told already. Those are done with by being stored.
        """
        async with self._begin() as tx:
            added = await tx.stripe_events.add(events, publish_at=self._clock.now() + self._republish_after)
            await tx.commit()
        if waiting := sorted(event_id for event_id, waits in added.items() if waits):
            self._announcer.announce(Work.STRIPE_EVENTS, waiting)
        first = {event.id: index for index, event in reversed(list(enumerate(events)))}
        return [event.id in added and first[event.id] == index for index, event in enumerate(events)]


class StripeEventUpkeep:
    """Forgets events that were handled long ago; those in quarantine wait for a person."""

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
