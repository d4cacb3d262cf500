"""How many wrong passwords are tried, counted in Redis; without Redis nobody may try."""

import hashlib
import math
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.errors import RateLimited, Unavailable
from domain.identity.ports import Attempt

# The generic cell rate algorithm, as for rate limits, over several keys at once: an attempt is counted for all of
# them or, when one is exhausted, for none. Times are microseconds of the server's clock. Returns how long to wait.
_TAKE = """
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local wait = 0
local tats = {}
for i, key in ipairs(KEYS) do
    local interval = tonumber(ARGV[2 * i - 1])
    tats[i] = math.max(tonumber(redis.call('GET', key) or now), now) + interval
    wait = math.max(wait, tats[i] - now - tonumber(ARGV[2 * i]))
end
if wait > 0 then
    return wait
end
for i, key in ipairs(KEYS) do
    redis.call('SET', key, string.format('%.0f', tats[i]), 'PX', math.ceil((tats[i] - now) / 1000) + 1)
end
return 0
"""
_GIVE_BACK = """
for i, key in ipairs(KEYS) do
    local tat = redis.call('GET', key)
    if tat then
        redis.call('SET', key, string.format('%.0f', tat - tonumber(ARGV[2 * i - 1])), 'KEEPTTL')
    end
end
"""
_US_PER_S = 1_000_000
_ERRORS = (RedisError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class ThrottlePolicy:
    """How many failures an account and an address may have within a time; one is forgiven as time goes on."""

    per_account: int
    per_address: int
    window_s: float

    @property
    def terms(self) -> list[int]:
        """Return interval and tolerance for the account, then for the address, in microseconds."""
        window_us = int(self.window_s * _US_PER_S)
        return [window_us // self.per_account, window_us, window_us // self.per_address, window_us]


class RedisLoginThrottle:
    """`domain.identity.ports.LoginThrottle`; closed when Redis is out of reach, since guessing has its price."""

    def __init__(self, redis: Redis, policy: ThrottlePolicy) -> None:
        """Keep the client and the limits."""
        self._take = redis.register_script(_TAKE)
        self._give_back = redis.register_script(_GIVE_BACK)
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
        """Count an attempt no more, since it succeeded; when that fails, it is forgiven as time goes on."""
        try:
            await self._give_back(keys=_keys(attempt), args=self._terms)
        except _ERRORS:
            return


def _keys(attempt: Attempt) -> list[str]:
    # Not the account itself: nobody shall read addresses there.
    account = hashlib.sha256(attempt.account.encode()).hexdigest()
    return [f"login:account:{account}", f"login:address:{attempt.address}"]
