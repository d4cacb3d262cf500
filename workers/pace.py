"""How often something is done that is asked for at intervals, however many of the asks have gathered."""

import functools
import threading
import time
from collections.abc import Callable


def at_pace(
    interval_s: float, *, clock: Callable[[], float] = time.monotonic
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Return what lets a function be called once in half an interval, and passes over the calls in between.

    Half of one: a call that came late is not to cost the next one, which comes in time. Passed over is also what
    comes while the call before is not done: what is slow would otherwise take one thread after the other.
    """

    def at_that_pace(call: Callable[[], None]) -> Callable[[], None]:
        is_free = threading.Lock()
        next_at = float("-inf")

        @functools.wraps(call)
        def call_if_due() -> None:
            nonlocal next_at
            if not is_free.acquire(blocking=False):
                return
            try:
                now = clock()
                if now >= next_at:
                    next_at = now + interval_s / 2
                    call()
            finally:
                is_free.release()

        return call_if_due

    return at_that_pace
