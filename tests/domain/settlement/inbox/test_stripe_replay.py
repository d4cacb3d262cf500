"""Events are processed again, and those that never came are fetched."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from domain.errors import Unavailable
from domain.settlement.inbox.stripe_inbox import StripeEventUpkeep, StripeInbox
from domain.settlement.inbox.stripe_replay import Fetched, StripeReplay
from domain.settlement.model import AccountPage, EventPage, EventWindow, StripeEvent, StripeEventStatus
from domain.work import Work
from tests.builders import NOW, a_stripe_event
from tests.domain.fakes import FakeClock, Memory, RecordingAnnouncer

WINDOW = EventWindow(NOW - timedelta(hours=1), NOW + timedelta(seconds=1))


class ListedHistory:
    """Stripe's lists in pages of two; the platform's breaks off before the page after `breaks_after`.

    Accounts come in pages of `accounts`.
    """

    def __init__(
        self,
        events: Sequence[StripeEvent],
        breaks_after: str | None = None,
        of_accounts: Mapping[str, Sequence[StripeEvent]] | None = None,
        *,
        accounts: int = 2,
    ) -> None:
        self._events = events
        self._breaks_after = breaks_after
        self._of_accounts = of_accounts or {}
        self._accounts = accounts

    async def page(self, window: EventWindow, after: str | None) -> EventPage:
        if after is not None and after == self._breaks_after:
            raise Unavailable("Stripe does not answer", code="stripe_unavailable")
        return a_page(self._events, after)

    async def accounts(self, after: str | None) -> AccountPage:
        ids = sorted(self._of_accounts)
        start = 0 if after is None else ids.index(after) + 1
        return AccountPage(ids[start : start + self._accounts], start + self._accounts < len(ids))

    async def page_of_account(
        self, account_id: str, types: Collection[str], window: EventWindow, after: str | None
    ) -> EventPage:
        return a_page([each for each in self._of_accounts[account_id] if each.type in types], after)


def a_page(events: Sequence[StripeEvent], after: str | None) -> EventPage:
    start = 0 if after is None else [event.id for event in events].index(after) + 1
    return EventPage(events[start : start + 2], start + 2 < len(events))


async def fetch(replay: StripeReplay, window: EventWindow = WINDOW, *, dry_run: bool = False) -> list[Fetched]:
    return [each async for each in replay.fetch(window, dry_run=dry_run)]


async def test_what_never_came_is_stored_and_announced_once(
    memory: Memory, inbox: StripeInbox, announcer: RecordingAnnouncer, clock: FakeClock
) -> None:
    came, *lost = (a_stripe_event() for _ in range(5))
    await inbox.receive([came])
    announcer.announced.clear()
    replay = StripeReplay(memory.begin, ListedHistory([lost[0], came, *lost[1:]]), inbox, clock)

    assert await fetch(replay, dry_run=True) == [Fetched(2, 1), Fetched(4, 3), Fetched(5, 4)]
    assert memory.state.stripe_events.keys() == {came.id}
    assert await fetch(replay) == [Fetched(2, 1), Fetched(4, 3), Fetched(5, 4)]
    assert await fetch(replay) == [Fetched(2, 0), Fetched(4, 0), Fetched(5, 0)]

    assert sorted(announcer.announced[Work.STRIPE_EVENTS]) == sorted(event.id for event in lost)
    assert memory.state.stripe_events == {event.id: event for event in (came, *lost)}


async def test_what_accounts_tell_of_themselves_is_fetched_account_by_account(
    memory: Memory, inbox: StripeInbox, clock: FakeClock
) -> None:
    of_accounts = {f"acct_{n}": [a_stripe_event("payout.paid") for _ in range(n)] for n in range(4)}
    of_accounts["acct_0"] = [a_stripe_event("payment.created")]
    of_platform = a_stripe_event()
    history = ListedHistory([of_platform], of_accounts=of_accounts)
    replay = StripeReplay(memory.begin, history, inbox, clock)

    assert await fetch(replay, replace(WINDOW, type="charge.*")) == [Fetched(1, 1)]
    assert (await fetch(replay))[-1] == Fetched(7, 6)

    known = [event.id for event in memory.state.stripe_events.values() if event.type == "payout.paid"]
    assert sorted(known) == sorted(event.id for n in (1, 2, 3) for event in of_accounts[f"acct_{n}"])


@pytest.mark.parametrize(("type_", "fetched"), [("payout.*", 1), ("account.updated", 1), ("*", 2)])
async def test_events_of_accounts_are_fetched_by_the_type_that_is_asked_for(
    memory: Memory, inbox: StripeInbox, clock: FakeClock, type_: str, fetched: int
) -> None:
    of_accounts = {"acct_1": [a_stripe_event("payout.paid")], "acct_2": [a_stripe_event("account.updated")]}
    replay = StripeReplay(memory.begin, ListedHistory([], of_accounts=of_accounts), inbox, clock)

    assert (await fetch(replay, replace(WINDOW, type=type_)))[-1] == Fetched(fetched, fetched)


async def test_many_accounts_are_each_read_once(memory: Memory, inbox: StripeInbox, clock: FakeClock) -> None:
    of_accounts = {f"acct_{n}": [a_stripe_event("payout.paid")] for n in range(20)}
    replay = StripeReplay(memory.begin, ListedHistory([], of_accounts=of_accounts, accounts=20), inbox, clock)

    assert (await fetch(replay))[-1] == Fetched(20, 20)


async def test_empty_list_is_the_end(memory: Memory, inbox: StripeInbox, clock: FakeClock) -> None:
    assert await fetch(StripeReplay(memory.begin, ListedHistory([]), inbox, clock)) == [Fetched(0, 0)]


async def test_what_was_fetched_stays_when_stripe_stops_answering(
    memory: Memory, inbox: StripeInbox, clock: FakeClock
) -> None:
    events = [a_stripe_event() for _ in range(4)]
    replay = StripeReplay(memory.begin, ListedHistory(events, breaks_after=events[1].id), inbox, clock)

    with pytest.raises(Unavailable):
        await fetch(replay)

    assert memory.state.stripe_events.keys() == {event.id for event in events[:2]}


async def test_more_than_a_page_of_handled_events_becomes_due_again(
    memory: Memory, inbox: StripeInbox, clock: FakeClock
) -> None:
    events = [a_stripe_event() for _ in range(1_500)]
    await inbox.receive(events)
    async with memory.begin() as tx:
        await tx.stripe_events.finish({event.id: StripeEventStatus.UNMATCHED for event in events}, NOW)
        await tx.commit()
    clock.advance(60)
    replay = StripeReplay(memory.begin, ListedHistory([]), inbox, clock)

    totals = [total async for total in replay.again(WINDOW, handled_before=clock.now())]

    assert totals == [1_000, 1_500]
    assert await replay.count(WINDOW, handled_since=clock.now()) == {StripeEventStatus.RECEIVED: 1_500}


async def test_events_handled_long_ago_are_forgotten(memory: Memory, inbox: StripeInbox, clock: FakeClock) -> None:
    old = [a_stripe_event() for _ in range(2_500)]
    young = replace(a_stripe_event(), received_at=NOW)
    upkeep = StripeEventUpkeep(memory.begin, clock, kept_s=100)
    await inbox.receive([*old, young])
    async with memory.begin() as tx:
        await tx.stripe_events.finish({event.id: StripeEventStatus.PROCESSED for event in old}, NOW)
        await tx.stripe_events.finish({young.id: StripeEventStatus.PROCESSED}, NOW + timedelta(seconds=1))
        await tx.commit()

    clock.advance(101)

    assert [await upkeep.prune(), await upkeep.prune()] == [2_500, 0]
    assert memory.state.stripe_events.keys() == {young.id}
