"""Processing Stripe's events once more, those included that never came, for an operator who asks for it."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from domain.clock import Clock
from domain.settlement.gateways import EventHistory
from domain.settlement.inbox.stripe_inbox import StripeInbox
from domain.settlement.model import EventWindow, StripeEventStatus
from domain.settlement.ports import SettlementTransaction
from domain.transactions import Begin

_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Fetched:
    """How many events Stripe has listed so far, and how many of them never came."""

    listed: int = 0
    missing: int = 0


class StripeReplay:
    """Puts events back into the inbox; the workers process them as any other, beside the new ones."""

    def __init__(
        self, begin: Begin[SettlementTransaction], history: EventHistory, inbox: StripeInbox, clock: Clock
    ) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._history = history
        self._inbox = inbox
        self._clock = clock

    async def fetch(self, window: EventWindow, *, dry_run: bool) -> AsyncIterator[Fetched]:
        """Store what Stripe lists and never sent, or only count it; tell after each page how much so far.

        Safe to repeat. Errors: Unavailable `stripe_unavailable`, and what was stored before stays.
        """
        listed = missing = 0
        after: str | None = None
        has_more = True
        while has_more:
            page = await self._history.page(window, after)
            async with self._begin() as tx:
                absent = await tx.stripe_events.missing([event.id for event in page.events])
            lost = [event for event in page.events if event.id in absent]
            if lost and not dry_run:
                await self._inbox.receive(lost)
            listed += len(page.events)
            missing += len(lost)
            yield Fetched(listed, missing)
            has_more = page.has_more and bool(page.events)
            after = page.events[-1].id if page.events else None

    async def again(self, window: EventWindow, *, handled_before: datetime) -> AsyncIterator[int]:
        """Make the stored events due again that were handled before that time; tell how many so far.

        Those that wait already are left alone. Safe to repeat: a settlement that is repeated is no news.
        """
        total = 0
        page = _PAGE
        while page == _PAGE:
            async with self._begin() as tx:
                page = await tx.stripe_events.again(
                    window, handled_before=handled_before, now=self._clock.now(), limit=_PAGE
                )
                await tx.commit()
            total += page
            yield total

    async def count(self, window: EventWindow, *, handled_since: datetime) -> Mapping[StripeEventStatus, int]:
        """Return how many events of the window wait, and what became of those handled since that time."""
        async with self._begin() as tx:
            return await tx.stripe_events.count(window, handled_since=handled_since)
