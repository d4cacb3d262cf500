"""One reader's place in the stream of events."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from domain.feed.model import Item, Replay, Replayed
from domain.identity.model import Principal

MAX_BUFFERED = 1_000
"""The most events that wait for one reader: more than the tail hands over at once."""


class Source(Protocol):
    """Where a subscription's events come from."""

    @property
    def tail_position(self) -> int:
        """Up to where the tail has read."""
        ...

    async def position(self) -> int:
        """Return up to where the tail has read, as soon as it has begun."""
        ...

    def join(self, subscription: "Subscription") -> None:
        """Let a subscription begin at the tail's next look."""
        ...

    async def replay(self, replay: Replay) -> Replayed:
        """Return the next part of what a reader missed; nothing while the log cannot be read."""
        ...


class Subscription:
    """What one reader takes: first what it missed, read again from the log, then what the tail hands over.

    Nothing is left out between the two and nothing comes twice: the tail hands over what comes after `start`, and
    the log is read again up to there.
    """

    def __init__(self, source: Source, principal: Principal, after: int | None) -> None:
        """Keep whose events are taken, and after which position; None: from now on."""
        self.principal = principal
        self.position = after
        self.start: int | None = None
        self.is_over = False
        self.is_cut = False
        self._source = source
        self._buffer: list[Item] = []
        self._woken = asyncio.Event()

    def begin(self, start: int) -> None:
        """Say that everything after a position will be handed over."""
        self.start = start
        self.position = start if self.position is None else self.position
        self._woken.set()

    def push(self, item: Item) -> None:
        """Hand an event over; a reader for whom too many wait is too slow, and its subscription is over."""
        if len(self._buffer) >= MAX_BUFFERED:
            self.is_cut = True
            self.end()
        elif not self.is_over:
            self._buffer.append(item)
            self._woken.set()

    def end(self) -> None:
        """End the subscription; what waits is dropped, and is read again by whoever comes back."""
        self.is_over = True
        self._buffer.clear()
        self._woken.set()

    async def begun(self, timeout_s: float) -> bool:
        """Wait until everything that is committed from now on will be handed over; False when the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.start is None and not self.is_over:
                    self._source.join(self)
                    self._woken.clear()
                    await self._woken.wait()
        except TimeoutError:
            pass
        return self.start is not None

    async def take(self, timeout_s: float) -> Sequence[Item]:
        """Return the next events, in order; none when the time or the subscription is over.

        The reader has then seen everything up to `position`, which goes on also while nothing concerns it.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not self.is_over:
                    if items := await self._next():
                        return items
        except TimeoutError:
            self._keep_up()
        return ()

    async def _next(self) -> Sequence[Item]:
        through = await self._source.position() if self.start is None else self.start
        if self.position is not None and self.position < through:
            return await self._catch_up(through)
        if self.start is None:
            self._source.join(self)
        if not self._buffer:
            self._woken.clear()
            await self._woken.wait()
        return self._take_buffered()

    async def _catch_up(self, through: int) -> Sequence[Item]:
        assert self.position is not None  # noqa: S101 - it is behind a position
        replayed = await self._source.replay(Replay(self.principal, self.position, through))
        self.position = replayed.through
        return replayed.items

    def _take_buffered(self) -> Sequence[Item]:
        """Take what was handed over, without what the reader had before from another process, further ahead."""
        taken, self._buffer = self._buffer, []
        items = [item for item in taken if self.position is None or item.position > self.position]
        if items:
            self.position = items[-1].position
        return items

    def _keep_up(self) -> None:
        """Follow the tail, which has read further and found nothing for this reader."""
        if self.start is not None and self.position is not None and self.position >= self.start:
            self.position = max(self.position, self._source.tail_position if not self._buffer else 0)
