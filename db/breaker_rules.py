"""The circuit breaker's rules, in Redis for the whole fleet and in the memory of one process."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, cast

from redis.asyncio import Redis

from db.shared_state import FORGET_THE_FUTURE

# Whatever is asked, the keys are: when the breaker is half-open (absent while it is closed), the latest failures,
# the call that tries, until when Stripe wants quiet, and the time. The server's clock is used; times are
# microseconds.
_KEYS = [f"stripe:breaker:{name}" for name in ("half_open_at", "failures", "trial", "quiet_until", "seen_at")]
_HEAD = f"""
local half_open_at, failures, trial, quiet_until = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
{FORGET_THE_FUTURE}
"""
_ENTER = f"""{_HEAD}
local quiet = tonumber(redis.call('GET', quiet_until) or 0)
if quiet > now then return {{'quiet', quiet - now}} end
local at = tonumber(redis.call('GET', half_open_at) or 0)
if at == 0 then return {{'closed', 0}} end
if at > now then return {{'open', at - now}} end
local token, ttl_ms = ARGV[1], ARGV[2]
if redis.call('EXISTS', trial) == 1 then return {{'busy', redis.call('PTTL', trial) * 1000}} end
if token == '' then return {{'half_open', 0}} end
redis.call('SET', trial, token, 'PX', ttl_ms)
return {{'trial', 0}}
"""
_FAIL = f"""{_HEAD}
local token, threshold, window, pause = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local at = tonumber(redis.call('GET', half_open_at) or 0)
if at > 0 and (token == '' or redis.call('GET', trial) ~= token) then return math.max(at - now, 0) end
if at == 0 then
    redis.call('LPUSH', failures, string.format('%.0f', now))
    redis.call('LTRIM', failures, 0, threshold - 1)
    redis.call('PEXPIRE', failures, math.ceil(window / 1000))
    local oldest = redis.call('LINDEX', failures, threshold - 1)
    if not oldest or now - tonumber(oldest) > window then return 0 end
end
redis.call('SET', half_open_at, string.format('%.0f', now + pause))
redis.call('DEL', failures, trial)
return pause
"""
_SUCCEED = f"""{_HEAD}
if redis.call('GET', trial) ~= ARGV[1] then return 0 end
return redis.call('DEL', half_open_at, failures, trial)
"""
_RELEASE = f"""{_HEAD}
if redis.call('GET', trial) ~= ARGV[1] then return 0 end
return redis.call('DEL', trial)
"""
_QUIET = f"""{_HEAD}
local till = math.max(tonumber(redis.call('GET', quiet_until) or 0), now + ARGV[1])
redis.call('SET', quiet_until, string.format('%.0f', till), 'PX', math.ceil((till - now) / 1000) + 1)
return till - now
"""
_RESET = f"""{_HEAD}
return redis.call('DEL', half_open_at, failures, trial, quiet_until)
"""
_US_PER_S = 1_000_000

Word = Literal["closed", "open", "half_open", "trial", "busy", "quiet"]
"""How the breaker stands: `half_open` to who does not want to be the trial, `trial` to the one who is, `busy`
while somebody else is; `quiet` while Stripe asks for it."""


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """So many failures within a window open the breaker for a time; a trial that tells nothing ends by itself."""

    failures: int = 5
    window_s: float = 60.0
    open_s: float = 30.0
    trial_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules say, and for how long it is of no use to ask again."""

    word: Word
    wait_s: float = 0.0
    token: str = ""


class Rules(Protocol):
    """The breaker's rules over some memory."""

    async def enter(self, token: str) -> Verdict:
        """Say how it stands; where a trial may be made, give it to this token unless that is empty."""
        ...

    async def fail(self, token: str) -> float:
        """Count a failure of a call; return for how many seconds the breaker is open now, 0 when it is not."""
        ...

    async def succeed(self, token: str) -> bool:
        """Close the breaker, if this token is the trial; return whether it is."""
        ...

    async def release(self, token: str) -> bool:
        """Let somebody else try, if this token is the trial; return whether it is."""
        ...

    async def quiet(self, seconds: float) -> bool:
        """Let nobody through for a time; return that it is so."""
        ...


class RedisRules:
    """The rules in Redis, each in one script."""

    def __init__(self, redis: Redis, policy: BreakerPolicy) -> None:
        """Keep the client and the rules' numbers."""
        self._policy = policy
        self._enter = redis.register_script(_ENTER)
        self._fail = redis.register_script(_FAIL)
        self._succeed = redis.register_script(_SUCCEED)
        self._release = redis.register_script(_RELEASE)
        self._quiet = redis.register_script(_QUIET)
        self._reset = redis.register_script(_RESET)

    async def enter(self, token: str) -> Verdict:
        """Say how it stands, and perhaps give the trial away."""
        word, wait_us = await self._enter(keys=_KEYS, args=[token, int(self._policy.trial_s * 1000)])
        word = cast("Word", word.decode())
        return Verdict(word, wait_us / _US_PER_S, token if word == "trial" else "")

    async def fail(self, token: str) -> float:
        """Count a failure."""
        policy = self._policy
        times = [int(policy.window_s * _US_PER_S), int(policy.open_s * _US_PER_S)]
        open_us = await self._fail(keys=_KEYS, args=[token, policy.failures, *times])
        return float(open_us) / _US_PER_S

    async def succeed(self, token: str) -> bool:
        """Close the breaker after its trial."""
        return bool(await self._succeed(keys=_KEYS, args=[token]))

    async def release(self, token: str) -> bool:
        """Let somebody else try."""
        return bool(await self._release(keys=_KEYS, args=[token]))

    async def quiet(self, seconds: float) -> bool:
        """Let nobody through for a time."""
        return bool(await self._quiet(keys=_KEYS, args=[int(seconds * _US_PER_S)]))

    async def reset(self) -> bool:
        """Forget failures, trial and quiet, so that all may call again; return whether there was any of them."""
        return bool(await self._reset(keys=_KEYS))


class LocalRules:
    """The same rules in this process's memory."""

    def __init__(self, policy: BreakerPolicy, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin closed."""
        self._policy = policy
        self._clock = clock
        self._half_open_at: float | None = None
        self._failures: deque[float] = deque(maxlen=policy.failures)
        self._trial = ""
        self._trial_ends_at = 0.0
        self._quiet_until = 0.0

    async def enter(self, token: str) -> Verdict:
        """Say how it stands, and perhaps give the trial away."""
        now = self._clock()
        if self._quiet_until > now:
            return Verdict("quiet", self._quiet_until - now)
        if self._half_open_at is None:
            return Verdict("closed")
        if self._half_open_at > now:
            return Verdict("open", self._half_open_at - now)
        if self._trial and self._trial_ends_at > now:
            return Verdict("busy", self._trial_ends_at - now)
        if not token:
            return Verdict("half_open")
        self._trial, self._trial_ends_at = token, now + self._policy.trial_s
        return Verdict("trial", token=token)

    async def fail(self, token: str) -> float:
        """Count a failure."""
        now = self._clock()
        if self._half_open_at is not None and not self._is_trial(token):
            return max(self._half_open_at - now, 0.0)
        if self._half_open_at is None:
            self._failures.append(now)
            is_full = len(self._failures) == self._policy.failures
            if not is_full or now - self._failures[0] > self._policy.window_s:
                return 0.0
        self._half_open_at = now + self._policy.open_s
        self._failures.clear()
        self._trial = ""
        return self._policy.open_s

    async def succeed(self, token: str) -> bool:
        """Close the breaker after its trial."""
        if not self._is_trial(token):
            return False
        self._half_open_at = None
        self._failures.clear()
        self._trial = ""
        return True

    async def release(self, token: str) -> bool:
        """Let somebody else try."""
        if not self._is_trial(token):
            return False
        self._trial = ""
        return True

    async def quiet(self, seconds: float) -> bool:
        """Let nobody through for a time."""
        self._quiet_until = max(self._quiet_until, self._clock() + seconds)
        return True

    def _is_trial(self, token: str) -> bool:
        return bool(token) and token == self._trial and self._trial_ends_at > self._clock()
