"""The stream of events: one reader of the log a process, and a place in it for each who follows."""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from domain.coalescer import Coalescer
from domain.errors import RateLimited, Unavailable
from domain.feed.model import Item, LoggedEvent, Replay, Replayed
from domain.feed.ports import Changes, FeedTransaction, Readers, Watch
from domain.feed.replays import Replays
from domain.feed.standstill import Standstill
from domain.feed.subscription import Subscription
from domain.feed.tail import Tail
from domain.identity.model import Principal
from domain.ids import UserId
from domain.transactions import Begin

_PAGE = 500
_MAX_REPLAYS = 64
# How soon to look at the log: together for what is committed within a moment, and by oneself without word of it.
_GATHER_S = 0.02
_GAP_PAUSE_S = 0.05
_LIVE_PAUSE_S = 1.0
_AWAY_PAUSE_S = 0.25
_RETRY_S = 0.5

log = logging.getLogger(__name__)


class EventFeed:
    """Hands each event to those whom it concerns, in order and without gaps.

    The tail runs while anybody follows. It looks at the log when word of a change comes, and now and then without.
    """

    def __init__(
        self,
        begin: Begin[FeedTransaction],
        changes: Changes,
        render: Callable[[LoggedEvent], bytes],
        *,
        max_readers: int,
        max_readers_per_user: int,
        on_wait: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Keep the collaborators; an event is rendered once, however many take it.

        `on_wait` hears for how many seconds the tail has waited for a transaction, and 0 when it goes on.
        """
        self._begin = begin
        self._changes = changes
        self._render = render
        self._max_readers = max_readers
        self._max_readers_per_user = max_readers_per_user
        self._standstill = Standstill(on_wait)
        self._replays = Coalescer(Replays(begin, render).read, max_batch=_MAX_REPLAYS)
        self._ends = Coalescer(self._find_ends, max_batch=max_readers)
        self._readers_of: Counter[UserId] = Counter()
        self._readers: set[Subscription] = set()
        self._joining: set[Subscription] = set()
        self._live: defaultdict[UserId, set[Subscription]] = defaultdict(set)
        self._live_of_all: set[Subscription] = set()
        self._runner: asyncio.Task[None] | None = None
        self._tail: Tail | None = None
        self._started = asyncio.Event()
        self._watch: Watch | None = None
        self._is_released = False

    def __len__(self) -> int:
        """Return how many follow."""
        return len(self._readers)

    def check_room(self, principal: Principal) -> None:
        """Refuse one reader too many.

        Errors: RateLimited `too_many_streams` for the user; Unavailable `overloaded` for the process.
        """
        if self._readers_of[principal.user_id] >= self._max_readers_per_user:
            raise RateLimited(f"at most {self._max_readers_per_user} streams at once", code="too_many_streams")
        if len(self._readers) >= self._max_readers:
            raise Unavailable("too many streams are open", code="overloaded")

    async def place(self, after: int | None) -> int | None:
        """Return after which position a reader goes on that wants to after one; None: from now on.

        The log ends before a position that it once had when the database was restored to an earlier moment; what
        has happened since then has other positions. Errors: Unavailable.
        """
        if after is None or after <= self.tail_position:
            return after
        # Another process may have read further than this one.
        return after if after <= await self._ends.submit(after) else None

    @contextmanager
    def subscribe(self, principal: Principal, after: int | None) -> Iterator[Subscription]:
        """Follow a user's events after a position, or from now on, until the end of the block."""
        subscription = Subscription(self, principal, after)
        self._readers.add(subscription)
        self._readers_of[principal.user_id] += 1
        if self._is_released:
            subscription.end()
        elif self._runner is None or self._runner.done():
            self._runner = asyncio.get_running_loop().create_task(self._run())
        try:
            yield subscription
        finally:
            self._forget(subscription)

    def release(self) -> None:
        """End all subscriptions, now and from now on: the process is about to end."""
        self._is_released = True
        self._end_all()

    async def close(self) -> None:
        """Stop reading."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)

    @property
    def tail_position(self) -> int:
        """Up to where the tail has read."""
        return self._tail.position if self._tail is not None else 0

    async def position(self) -> int:
        """Return up to where the tail has read, as soon as it has begun."""
        await self._started.wait()
        return self.tail_position

    def join(self, subscription: Subscription) -> None:
        """Let a subscription begin at the tail's next look."""
        self._joining.add(subscription)
        if self._watch is not None:
            self._watch.wake()

    async def replay(self, replay: Replay) -> Replayed:
        """Return the next part of what a reader missed; nothing while the log cannot be read."""
        try:
            return await self._replays.submit(replay)
        except Unavailable:
            await asyncio.sleep(_RETRY_S)
            return Replayed((), replay.after)

    async def _find_ends(self, asked: Sequence[int]) -> list[int]:
        async with self._begin() as tx:
            return [await tx.feed.last_position()] * len(asked)

    async def _run(self) -> None:
        try:
            with self._changes.watch() as self._watch:
                await self._follow(Tail(self._begin, page=_PAGE, standstill=self._standstill), self._watch)
        except Exception:
            log.exception("event_feed_failed")
        finally:
            self._tail, self._watch = None, None
            self._started.clear()
            self._standstill.end()
            # Nobody would hand them anything any more; they come back for what they miss.
            self._end_all()

    async def _follow(self, tail: Tail, watch: Watch) -> None:
        while self._readers:
            try:
                if self._tail is None:
                    await tail.start()
                    self._tail = tail
                    self._started.set()
                self._admit(tail.position)
                events, is_more = await tail.read(self._live_readers())
            except Unavailable:
                await asyncio.sleep(_RETRY_S)
                continue
            self._hand_over(events)
            if is_more:
                await asyncio.sleep(0)  # the readers take what they have before more comes
            else:
                await self._pause(tail, watch)

    def _admit(self, position: int) -> None:
        """Let those who wait begin between two looks, so that the next one is for them too."""
        for subscription in self._joining:
            subscription.begin(position)
            self._lives(subscription).add(subscription)
        self._joining.clear()

    def _live_readers(self) -> Readers:
        return None if self._live_of_all else list(self._live)

    def _hand_over(self, events: Sequence[LoggedEvent]) -> None:
        for logged in events:
            takers = set(self._live_of_all).union(*(self._live.get(user, ()) for user in logged.event.audience))
            if takers:
                item = Item(logged.position, self._render(logged))
                for subscription in takers:
                    subscription.push(item)

    async def _pause(self, tail: Tail, watch: Watch) -> None:
        if tail.waits_for_gap:
            await asyncio.sleep(_GAP_PAUSE_S)
            return
        await watch.changed(_LIVE_PAUSE_S if self._changes.is_live else _AWAY_PAUSE_S)
        if not self._joining:
            await asyncio.sleep(_GATHER_S)

    def _lives(self, subscription: Subscription) -> set[Subscription]:
        principal = subscription.principal
        return self._live_of_all if principal.sees_all else self._live[principal.user_id]

    def _forget(self, subscription: Subscription) -> None:
        user_id = subscription.principal.user_id
        self._readers.discard(subscription)
        self._joining.discard(subscription)
        self._lives(subscription).discard(subscription)
        if not self._live[user_id]:
            del self._live[user_id]
        self._readers_of[user_id] -= 1
        if not self._readers_of[user_id]:
            del self._readers_of[user_id]

    def _end_all(self) -> None:
        for subscription in self._readers:
            subscription.end()
