"""How many wrong passwords are tried, counted in Redis; without Redis nobody may try."""

import hashlib
import math
from contextlib import suppress
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.errors import RateLimited, Unavailable
from domain.identity.ports import Attempt

# Where an attempt is counted: for the account, and for the address. An account's failures in a network from which
# it logged in lately are counted there, and those from all others together. Times are microseconds of the server's
# clock.
_COUNTED = """
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local everywhere, address, networks, here = unpack(KEYS)
local known_until = redis.call('ZSCORE', networks, here)
local is_known = known_until and tonumber(known_until) > now
local counted = {is_known and here or everywhere, address}
"""
# The generic cell rate algorithm, as for rate limits, over several keys at once: an attempt is counted for all of
# them or, when one is exhausted, for none. Returns how long to wait.
_TAKE = (
    _COUNTED
    + """
local wait = 0
local tats = {}
for i, key in ipairs(counted) do
    local interval = tonumber(ARGV[2 * i - 1])
    tats[i] = math.max(tonumber(redis.call('GET', key) or now), now) + interval
    wait = math.max(wait, tats[i] - now - tonumber(ARGV[2 * i]))
end
if wait > 0 then
    return wait
end
for i, key in ipairs(counted) do
    redis.call('SET', key, string.format('%.0f', tats[i]), 'PX', math.ceil((tats[i] - now) / 1000) + 1)
end
return 0
"""
)
_GIVE_BACK = (
    _COUNTED
    + """
for i, key in ipairs(counted) do
    local tat = redis.call('GET', key)
    if tat then
        redis.call('SET', key, string.format('%.0f', tat - tonumber(ARGV[2 * i - 1])), 'KEEPTTL')
    end
end
"""
)
_REMEMBER = (
    _GIVE_BACK
    + """
local known_us, most = tonumber(ARGV[5]), tonumber(ARGV[6])
redis.call('ZADD', networks, string.format('%.0f', now + known_us), here)
redis.call('ZREMRANGEBYRANK', networks, 0, -1 - most)
redis.call('PEXPIRE', networks, math.ceil(known_us / 1000))
"""
)
_US_PER_S = 1_000_000
_ERRORS = (RedisError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class ThrottlePolicy:
    """How many failures an account and an address may have within a time; one is forgiven as time goes on.

    The account may have as many in each network from which it logged in lately, the last few of them, and in all
    others together.
    """

    per_account: int
    per_address: int
    window_s: float
    known_s: float = 30 * 86_400
    most_known: int = 10

    @property
    def terms(self) -> list[int]:
        """Return interval and tolerance for the account, then for the address, and how long a network is known.

        All of them in microseconds; and last how many networks are known at most.
        """
        window_us, known_us = int(self.window_s * _US_PER_S), int(self.known_s * _US_PER_S)
        spans = [window_us // self.per_account, window_us, window_us // self.per_address, window_us]
        return [*spans, known_us, self.most_known]


class RedisLoginThrottle:
    """`domain.identity.ports.LoginThrottle`; closed when Redis is out of reach, since guessing has its price."""

    def __init__(self, redis: Redis, policy: ThrottlePolicy) -> None:
        """Keep the client and the limits."""
        self._take = redis.register_script(_TAKE)
        self._give_back = redis.register_script(_GIVE_BACK)
        self._remember = redis.register_script(_REMEMBER)
        self._terms = policy.terms

    async def take(self, attempt: Attempt) -> None:
        """Count an attempt. Errors: RateLimited `login_throttled`; Unavailable `login_unavailable`."""
        try:
            wait_us = await self._take(keys=_keys(attempt), args=self._terms)
        except _ERRORS as error:
            raise Unavailable("logging in is out of service", code="login_unavailable") from error
        if wait_us > 0:
            wait_s = math.ceil(wait_us / _US_PER_S)
            raise RateLimited("too many failed logins", code="login_throttled", retry_after_s=wait_s)

    async def give_back(self, attempt: Attempt) -> None:
        """Count an attempt no more, since nothing was compared; when that fails, it is forgiven in time."""
        with suppress(*_ERRORS):
            await self._give_back(keys=_keys(attempt), args=self._terms)

    async def remember(self, attempt: Attempt) -> None:
        """Count an attempt no more, since it succeeded, and know its network; when that fails, as `give_back`."""
        with suppress(*_ERRORS):
            await self._remember(keys=_keys(attempt), args=self._terms)


def _keys(attempt: Attempt) -> list[str]:
    # Not the account itself, nor where it is at home: nobody shall read that there.
    account, here = _digest(attempt.account), _digest(f"{attempt.account} {attempt.address}")
    return [
        f"login:account:{account}",
        f"login:address:{attempt.address}",
        f"login:networks:{account}",
        f"login:here:{here}",
    ]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
