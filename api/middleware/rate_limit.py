"""How often: a limit for each user, and for each address where the user is not known."""

import math
from dataclasses import dataclass
from functools import lru_cache

from falcon.asgi import Request, Response

from api.middleware.addresses import client_address
from db.rate_limits import Hit, RateLimits, Verdict
from domain.coalescer import Coalescer
from domain.errors import RateLimited
from domain.ids import UserId


@dataclass(frozen=True, slots=True)
class LimitPolicy:
    """Requests a minute of a user and of an address, how many may come at once, and how many proxies we have."""

    per_user: int
    per_address: int
    burst: int
    trusted_proxies: int = 0


class RateLimit:
    """Counts requests in Redis, many in one call, and lets them through while Redis is out of reach."""

    def __init__(self, limits: RateLimits, policy: LimitPolicy) -> None:
        """Keep the limits."""
        self._limits = limits
        self._hits: Coalescer[Hit, Verdict] = Coalescer(limits.hit, max_batch=128)
        self._policy = policy

    async def process_resource(
        self, req: Request, resp: Response, resource: object, params: dict[str, object]
    ) -> None:
        """Refuse a caller that asks too often. Errors: RateLimited `rate_limited`."""
        operation = req.context.operation
        if operation is None or not operation.limited:
            return
        principal = req.context.principal
        if principal is None:
            await self.count_address(req, resp)
        else:
            await self._count(resp, "user", _hit_of(principal.user_id, self._policy.per_user, self._policy.burst))

    async def count_address(self, req: Request, resp: Response) -> None:
        """Count a request of an unknown caller by its address. Errors: RateLimited `rate_limited`."""
        address = client_address(req, trusted_proxies=self._policy.trusted_proxies)
        limit = self._policy.per_address
        await self._count(resp, "address", Hit(f"address:{address}", limit, min(self._policy.burst, limit)))

    async def _count(self, resp: Response, name: str, hit: Hit) -> None:
        limit = hit.per_minute
        verdict = self._limits.spend(hit) or await self._hits.submit(hit)
        # The fields of today's draft (draft-ietf-httpapi-ratelimit-headers-10), and those of its first seven
        # versions, which most clients know.
        reset_s = math.ceil(verdict.reset_s)
        resp.set_headers(
            (
                ("RateLimit-Policy", f'"{name}";q={limit};w=60'),
                ("RateLimit", f'"{name}";r={verdict.remaining};t={reset_s}'),
                ("RateLimit-Limit", str(limit)),
                ("RateLimit-Remaining", str(verdict.remaining)),
                ("RateLimit-Reset", str(reset_s)),
            )
        )
        if not verdict.allowed:
            wait_s = max(1, math.ceil(verdict.retry_after_s))
            raise RateLimited(f"at most {limit} requests a minute", retry_after_s=wait_s)


@lru_cache(maxsize=10_000)
def _hit_of(user_id: UserId, per_minute: int, burst: int) -> Hit:
    """Return a user's request. PERF: writing out an id costs as much as counting the request."""
    return Hit(f"user:{user_id}", per_minute, min(burst, per_minute))
