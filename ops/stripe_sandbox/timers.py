"""What is yet to happen by itself, in the order in which it is due."""

import heapq
from typing import NamedTuple

from ops.stripe_sandbox.store import Bag


class Timer(NamedTuple):
    """An action that happens to an object at a time of the sandbox's clock."""

    due: float
    action: str
    subject: str


class Timers:
    """A queue by due time over the journaled timers."""

    def __init__(self, kept: Bag) -> None:
        self._kept = kept
        self._queue: list[tuple[float, str]] = []

    def load(self) -> None:
        """Queue what the journal brought."""
        self._queue = [(row[0], key) for key, row in self._kept.live()]
        heapq.heapify(self._queue)

    def add(self, key: str, timer: Timer) -> None:
        """Queue a timer."""
        self._kept.put(key, tuple(timer))
        heapq.heappush(self._queue, (timer.due, key))

    def take_due(self, now: float) -> Timer | None:
        """Remove and return the timer that has been due the longest, or None."""
        while self._queue and self._queue[0][0] <= now:
            _, key = heapq.heappop(self._queue)
            row = self._kept.get(key)
            if row is not None:
                self._kept.remove(key)
                return Timer(*row)
        return None

    def clear(self) -> None:
        """Forget every timer."""
        self._queue.clear()
