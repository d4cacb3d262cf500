"""What all processes share in Redis, and what a process does without it."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.exceptions import RedisError

T = TypeVar("T")

# Part of a script whose last key holds when it ran last, to the second: where the server's clock has gone back,
# by its own step or because another node took over, the times that were kept lie in the future, and would stop
# everybody until then. All keys are forgotten instead.
FORGET_THE_FUTURE = """
local seen_at = tonumber(redis.call('GET', KEYS[#KEYS]) or 0)
if seen_at > now + 1000000 then redis.call('DEL', unpack(KEYS)) end
if math.abs(now - seen_at) > 1000000 then redis.call('SET', KEYS[#KEYS], string.format('%.0f', now)) end
"""

_PAUSE_S = 1.0
_REDIS_ERRORS = (RedisError, OSError, TimeoutError)


class SharedState:
    """Asks Redis, and leaves it alone for a second after it failed: nobody waits for it again and again."""

    def __init__(self, *, on_failure: Callable[[], None]) -> None:
        """Keep whom to tell that a question went without an answer."""
        self._on_failure = on_failure
        self._silent_until = 0.0

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T | None:
        """Return the answer, or None when Redis is out of reach and the process must decide alone."""
        if time.monotonic() >= self._silent_until:
            try:
                return await question()
            except _REDIS_ERRORS:
                self._silent_until = time.monotonic() + _PAUSE_S
        self._on_failure()
        return None
