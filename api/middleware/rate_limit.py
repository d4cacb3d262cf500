"""How often: a limit for each user, and one for each address where there is no token."""

import math
from dataclasses import dataclass

from falcon.asgi import Request, Response

from api.middleware.addresses import client_address
from db.rate_limits import Hit, RateLimits, Verdict
from domain.coalescer import Coalescer
from domain.errors import RateLimited


@dataclass(frozen=True, slots=True)
class LimitPolicy:
    """Requests a minute of a user and of an address, how many may come at once, and our proxies before the API."""

    per_user: int
    per_address: int
    burst: int
    trusted_proxies: int = 0


class RateLimit:
    """Counts requests in Redis, many in one call; lets them through when Redis is out of reach."""

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
            await self._count(resp, f"user:{principal.user_id}", self._policy.per_user)

    async def count_address(self, req: Request, resp: Response) -> None:
        """Count a request of nobody known by its address. Errors: RateLimited `rate_limited`."""
        address = client_address(req, trusted_proxies=self._policy.trusted_proxies)
        await self._count(resp, f"address:{address}", self._policy.per_address)

    async def _count(self, resp: Response, key: str, limit: int) -> None:
        hit = Hit(key, limit, min(self._policy.burst, limit))
        verdict = self._limits.spend(hit) or await self._hits.submit(hit)
        # The draft's fields of today (draft-ietf-httpapi-ratelimit-headers-10), and those of its first seven
        # versions, which most clients know.
        reset_s = math.ceil(verdict.reset_s)
        name = key.partition(":")[0]
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
