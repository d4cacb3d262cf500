"""Rate limits in Redis: the generic cell rate algorithm, for a whole batch of requests in one call."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError

# GCRA keeps one number a key, the theoretical arrival time: when the bucket would be empty. A request moves it
# by one emission interval, and is refused when it would lie more than the burst ahead. Of several requests at once
# as many pass as fit. The server's clock is used, so that processes whose clocks differ share one truth, unless
# another time is given; where it has gone back, what lies further ahead than a full bucket is
# forgotten. Times are microseconds.
_SCRIPT = """
local now = tonumber(ARGV[3 * #KEYS + 1])
if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000000 + time[2]
end
local answers = {}
for i, key in ipairs(KEYS) do
    local interval = tonumber(ARGV[3 * i - 2])
    local tolerance = tonumber(ARGV[3 * i - 1])
    local wanted = tonumber(ARGV[3 * i])
    local tat = math.max(tonumber(redis.call('GET', key) or now), now)
    if tat > now + tolerance + 1000000 then tat = now end
    local granted = math.min(wanted, math.floor((now + tolerance - tat) / interval))
    if granted > 0 then
        local ahead = tat + granted * interval - now
        redis.call('SET', key, string.format('%.0f', now + ahead), 'PX', math.ceil(ahead / 1000) + 1)
        answers[2 * i - 1] = granted
        answers[2 * i] = ahead
    else
        answers[2 * i - 1] = 0
        answers[2 * i] = tat + interval - now - tolerance
    end
end
return answers
"""
_MINUTE_US = 60_000_000
_US_PER_S = 1_000_000
_PAUSE_S = 1.0
_PREPAID_FOR_S = 1.0
_PREPAID_SHARE = 100
_MAX_PREPAID = 64
_MAX_PURSES = 10_000


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


@dataclass(slots=True)
class _Purse:
    """Requests of a key that are counted already and may still pass."""

    size: int = 0
    left: int = 0
    remaining: int = 0
    ahead_us: float = 0.0
    expires_at: float = 0.0


class RateLimits:
    """Counts hits; open when Redis is out of reach, since a limit is no reason to refuse a payment.

    PERF: a key that is hit again and again pays for several requests at once and spends them within a second
    without asking. At most a hundredth of its burst, so that what several processes hold in hand, and what
    expires there, stays within a hundredth of the limit.
    """

    def __init__(
        self, redis: Redis, *, on_failure: Callable[[int], None], clock_s: Callable[[], float] | None = None
    ) -> None:
        """Keep the client, whom to tell how many requests pass uncounted, and a clock instead of the server's."""
        self._script = redis.register_script(_SCRIPT)
        self._on_failure = on_failure
        self._clock_s = clock_s
        self._monotonic_s = clock_s or time.monotonic
        self._silent_until = 0.0
        self._purses: dict[str, _Purse] = {}

    def spend(self, hit: Hit) -> Verdict | None:
        """Let a request pass that is paid for; None when it must be counted first."""
        purse = self._purses.get(hit.key)
        if purse is None or not purse.left or purse.expires_at < self._monotonic_s():
            return None
        purse.left -= 1
        return _passed(hit, purse)

    async def hit(self, hits: Sequence[Hit]) -> list[Verdict]:
        """Count requests in one call, in order. Never fails; after a failure Redis is left alone for a second."""
        if self._monotonic_s() < self._silent_until:
            return self._pass(hits)
        terms = [(_MINUTE_US / hit.per_minute, hit.burst * _MINUTE_US / hit.per_minute) for hit in hits]
        wanted = [self._wanted(hit) for hit in hits]
        values = [
            int(value)
            for (interval, burst), n in zip(terms, wanted, strict=True)
            for value in (interval, burst, n)
        ]
        if self._clock_s is not None:
            values.append(int(self._clock_s() * _US_PER_S))
        try:
            answers = await self._script(keys=[f"rate:{hit.key}" for hit in hits], args=values)
        except (RedisError, OSError, TimeoutError):
            self._silent_until = self._monotonic_s() + _PAUSE_S
            return self._pass(hits)
        return [
            self._verdict(hit, granted, ahead_us, *pair)
            for hit, granted, ahead_us, pair in zip(hits, answers[::2], answers[1::2], terms, strict=True)
        ]

    def _wanted(self, hit: Hit) -> int:
        """Return for how many requests to pay: more, each time that the last ones were spent in time."""
        purse = self._purses.get(hit.key)
        if purse is None or purse.left or purse.expires_at < self._monotonic_s():
            return 1
        return max(1, min(2 * purse.size, hit.burst // _PREPAID_SHARE, _MAX_PREPAID))

    def _verdict(
        self, hit: Hit, granted: int, ahead_us: float, interval_us: float, tolerance_us: float
    ) -> Verdict:
        """Read the script's answer: how far ahead the requests that passed lie, or how long to wait."""
        if not granted:
            wait_s = ahead_us / _US_PER_S
            reset_s = wait_s + tolerance_us / _US_PER_S
            return Verdict(allowed=False, remaining=0, reset_s=reset_s, retry_after_s=wait_s)
        if len(self._purses) >= _MAX_PURSES:
            self._purses.clear()
        purse = self._purses.setdefault(hit.key, _Purse())
        purse.size = granted
        purse.left += granted - 1
        purse.remaining = int((tolerance_us - ahead_us) / interval_us)
        purse.ahead_us = ahead_us
        purse.expires_at = self._monotonic_s() + _PREPAID_FOR_S
        return _passed(hit, purse)

    def _pass(self, hits: Sequence[Hit]) -> list[Verdict]:
        self._on_failure(len(hits))
        return [Verdict(allowed=True, remaining=hit.burst, reset_s=0) for hit in hits]


def _passed(hit: Hit, purse: _Purse) -> Verdict:
    """Say that a request passes. What was paid for long ago and is in hand again adds nothing to a full limit."""
    remaining = min(purse.remaining + purse.left, hit.burst - 1)
    return Verdict(allowed=True, remaining=remaining, reset_s=purse.ahead_us / _US_PER_S)
