"""Rate limits in Redis: the generic cell rate algorithm, for a whole batch of requests in one call."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError

# GCRA keeps one number a key, the theoretical arrival time: when the bucket would be empty. A request moves it
# by one emission interval, and is refused when it would lie more than the burst ahead. The server's clock is
# used, so that processes whose clocks differ share one truth. Times are microseconds.
_SCRIPT = """
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local answers = {}
for i, key in ipairs(KEYS) do
    local interval = tonumber(ARGV[2 * i - 1])
    local tolerance = tonumber(ARGV[2 * i])
    local tat = math.max(tonumber(redis.call('GET', key) or now), now)
    local ahead = tat + interval - now
    if ahead <= tolerance then
        redis.call('SET', key, string.format('%.0f', tat + interval), 'PX', math.ceil(ahead / 1000) + 1)
        answers[i] = ahead
    else
        answers[i] = tolerance - ahead
    end
end
return answers
"""
_MINUTE_US = 60_000_000
_US_PER_S = 1_000_000
_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Hit:
    """A request to count: whose, how many a minute, and how many at once."""

    key: str
    per_minute: int
    burst: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request may pass; how many more may at once, and when all may again."""

    allowed: bool
    remaining: int
    reset_s: float
    retry_after_s: float = 0.0


class RateLimits:
    """Counts hits; open when Redis is out of reach, since a limit is no reason to refuse a payment."""

    def __init__(self, redis: Redis, *, on_failure: Callable[[int], None]) -> None:
        """Keep the client, and whom to tell how many requests passed uncounted."""
        self._script = redis.register_script(_SCRIPT)
        self._on_failure = on_failure
        self._silent_until = 0.0

    async def hit(self, hits: Sequence[Hit]) -> list[Verdict]:
        """Count requests in one call, in order. Never fails; after a failure Redis is left alone for a second."""
        if time.monotonic() < self._silent_until:
            return self._pass(hits)
        terms = [(_MINUTE_US / hit.per_minute, hit.burst * _MINUTE_US / hit.per_minute) for hit in hits]
        try:
            answers = await self._script(
                keys=[f"rate:{hit.key}" for hit in hits], args=[int(value) for pair in terms for value in pair]
            )
        except (RedisError, OSError, TimeoutError):
            self._silent_until = time.monotonic() + _PAUSE_S
            return self._pass(hits)
        return [_verdict(answer, *pair) for answer, pair in zip(answers, terms, strict=True)]

    def _pass(self, hits: Sequence[Hit]) -> list[Verdict]:
        self._on_failure(len(hits))
        return [Verdict(allowed=True, remaining=hit.burst, reset_s=0) for hit in hits]


def _verdict(answer_us: int, interval_us: float, tolerance_us: float) -> Verdict:
    """Read the script's answer: how far ahead a request that passed lies, or, negative, how long to wait."""
    if answer_us > 0:
        remaining = int((tolerance_us - answer_us) / interval_us)
        return Verdict(allowed=True, remaining=remaining, reset_s=answer_us / _US_PER_S)
    wait_s = -answer_us / _US_PER_S
    return Verdict(allowed=False, remaining=0, reset_s=wait_s + tolerance_us / _US_PER_S, retry_after_s=wait_s)
