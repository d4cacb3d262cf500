"""Processing Stripe's events once more, those included that never came, for an operator who asks for it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from functools import partial

from domain.clock import Clock
from domain.settlement.gateways import EventHistory
from domain.settlement.inbox.account_events import ACCOUNT_UPDATED
from domain.settlement.inbox.payout_events import BANK_EVENTS
from domain.settlement.inbox.stripe_inbox import StripeInbox
from domain.settlement.model import EventPage, EventWindow, StripeEventStatus
from domain.settlement.ports import SettlementTransaction
from domain.settlement.together import all_of
from domain.transactions import Begin

_PAGE = 1_000
_OF_ACCOUNTS = frozenset({ACCOUNT_UPDATED}) | BANK_EVENTS
"""What is processed of connected accounts' own events. Stripe lists them account by account, not with ours."""
_ACCOUNTS_AT_ONCE = 8


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
        async for page in self._pages(window):
            async with self._begin() as tx:
                absent = await tx.stripe_events.missing([event.id for event in page.events])
            lost = [event for event in page.events if event.id in absent]
            if lost and not dry_run:
                await self._inbox.receive(lost)
            listed += len(page.events)
            missing += len(lost)
            yield Fetched(listed, missing)

    async def _pages(self, window: EventWindow) -> AsyncIterator[EventPage]:
        """Read the platform's list to its end, then those of all connected accounts that have events."""
        first = await self._history.page(window, None)
        async for page in _to_the_end(first, lambda after: self._history.page(window, after)):
            yield page
        types = [kind for kind in sorted(_OF_ACCOUNTS) if window.type is None or fnmatchcase(kind, window.type)]
        after, has_more = None, bool(types)
        while has_more:
            accounts = await self._history.accounts(after)
            async for page in self._pages_of_accounts(accounts.ids, types, window):
                yield page
            has_more = accounts.has_more and bool(accounts.ids)
            after = accounts.ids[-1] if accounts.ids else None

    async def _pages_of_accounts(
        self, ids: Sequence[str], types: Collection[str], window: EventWindow
    ) -> AsyncIterator[EventPage]:
        for start in range(0, len(ids), _ACCOUNTS_AT_ONCE):
            group = ids[start : start + _ACCOUNTS_AT_ONCE]
            firsts = await all_of(self._history.page_of_account(each, types, window, None) for each in group)
            for account_id, first in zip(group, firsts, strict=True):
                if first.events:
                    read = partial(self._history.page_of_account, account_id, types, window)
                    async for page in _to_the_end(first, read):
                        yield page

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


async def _to_the_end(
    first: EventPage, read: Callable[[str | None], Awaitable[EventPage]]
) -> AsyncIterator[EventPage]:
    page = first
    yield page
    while page.has_more and page.events:
        page = await read(page.events[-1].id)
        yield page
