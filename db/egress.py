"""The rate of calls to Stripe, shared by all workers: one bucket of turns in Redis.

https://docs.stripe.com/rate-limits
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from redis.asyncio import Redis

from db.shared_state import FORGET_THE_FUTURE, SharedState

# The bucket is one number, the time of the next free turn: it lies in the past while there is room, at most by the
# burst, and in the future while callers wait. Whoever may not wait so long takes a place in the line behind: a
# second number, which spreads the rows that are put back at the same rate. Times are the server's, microseconds.
_SCRIPT = f"""
local next_turn, line = KEYS[1], KEYS[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local wanted, longest = tonumber(ARGV[3]), tonumber(ARGV[4])
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
{FORGET_THE_FUTURE}
local first = math.max(tonumber(redis.call('GET', next_turn) or 0), now - burst)
local granted = 0
if first <= now + longest then
    granted = math.min(wanted, math.floor((now + longest - first) / interval) + 1)
    local after = first + granted * interval
    redis.call('SET', next_turn, string.format('%.0f', after), 'PX', math.ceil((after - now + burst) / 1000) + 1)
end
if granted == wanted then return {{granted, first - now, 0}} end
local place = math.max(tonumber(redis.call('GET', line) or 0), now + longest)
local behind = place + (wanted - granted) * interval
redis.call('SET', line, string.format('%.0f', behind), 'PX', math.ceil((behind - now) / 1000) + 1)
return {{granted, first - now, place - now}}
"""
_KEYS = ["stripe:egress:next_turn", "stripe:egress:line", "stripe:egress:seen_at"]
_US_PER_S = 1_000_000
_BURST_S = 0.1


@dataclass(frozen=True, slots=True)
class Turns:
    """Some turns, in seconds from now: first those that were granted, then places in line for the rest."""

    granted: tuple[float, ...]
    rest: tuple[float, ...]


class Bucket(Protocol):
    """Where turns come from."""

    async def take(self, count: int, *, longest_wait_s: float) -> Turns:
        """Take so many turns, of which none lies further ahead than the longest wait."""
        ...


class RedisBucket:
    """The bucket of the fleet."""

    def __init__(self, redis: Redis, *, rate_per_second: float) -> None:
        """Keep the client and the rate."""
        self._script = redis.register_script(_SCRIPT)
        self._interval_us = _US_PER_S / rate_per_second

    async def take(self, count: int, *, longest_wait_s: float) -> Turns:
        """Take turns in one call. Errors: what Redis raises."""
        times = [self._interval_us, _BURST_S * _US_PER_S, count, longest_wait_s * _US_PER_S]
        granted, first_us, place_us = await self._script(keys=_KEYS, args=times)
        return _turns(count, granted, first_us / _US_PER_S, place_us / _US_PER_S, self._interval_us / _US_PER_S)


class LocalBucket:
    """The same bucket in this process's memory, with the process's share of the rate."""

    def __init__(self, *, rate_per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin full."""
        self._clock = clock
        self._interval_s = 1 / rate_per_second
        self._next_turn = float("-inf")
        self._line = float("-inf")

    async def take(self, count: int, *, longest_wait_s: float) -> Turns:
        """Take turns."""
        now = self._clock()
        first = max(self._next_turn, now - _BURST_S)
        granted = 0
        if first <= now + longest_wait_s:
            granted = min(count, int((now + longest_wait_s - first) / self._interval_s) + 1)
            self._next_turn = first + granted * self._interval_s
        place = max(self._line, now + longest_wait_s)
        if granted < count:
            self._line = place + (count - granted) * self._interval_s
        return _turns(count, granted, first - now, place - now, self._interval_s)


class SharedBucket:
    """The bucket of the fleet, or the process's own while Redis is out of reach."""

    def __init__(self, fleet: Bucket, alone: Bucket, state: SharedState) -> None:
        """Keep both buckets."""
        self._fleet = fleet
        self._alone = alone
        self._state = state

    async def take(self, count: int, *, longest_wait_s: float) -> Turns:
        """Take turns. Never fails."""
        turns = await self._state.ask(lambda: self._fleet.take(count, longest_wait_s=longest_wait_s))
        return turns or await self._alone.take(count, longest_wait_s=longest_wait_s)


def _turns(count: int, granted: int, first_s: float, place_s: float, interval_s: float) -> Turns:
    return Turns(
        granted=tuple(max(first_s + turn * interval_s, 0.0) for turn in range(granted)),
        rest=tuple(place_s + turn * interval_s for turn in range(count - granted)),
    )
