"""How often: a limit for each user, and one for each address where there is no token."""

import math

from falcon.asgi import Request, Response

from db.rate_limits import Hit, RateLimits, Verdict
from domain.coalescer import Coalescer
from domain.errors import RateLimited


class RateLimit:
    """Counts requests in Redis, many in one call; lets them through when Redis is out of reach."""

    def __init__(self, limits: RateLimits, *, per_user: int, per_address: int, burst: int) -> None:
        """Keep the limits: requests a minute, and how many may come at once."""
        self._hits: Coalescer[Hit, Verdict] = Coalescer(limits.hit, max_batch=128, max_flushers=2)
        self._per_user = per_user
        self._per_address = per_address
        self._burst = burst

    async def process_resource(
        self, req: Request, resp: Response, resource: object, params: dict[str, object]
    ) -> None:
        """Refuse a caller that asks too often. Errors: RateLimited `rate_limited`."""
        operation = req.context.operation
        if operation is None or not operation.limited:
            return
        principal = req.context.principal
        if principal is not None:
            key, limit = f"user:{principal.user_id}", self._per_user
        else:
            key, limit = f"address:{req.remote_addr}", self._per_address
        verdict = await self._hits.submit(Hit(key, limit, min(self._burst, limit)))
        reset_s = math.ceil(verdict.reset_s)
        resp.set_header("RateLimit-Limit", str(limit))
        resp.set_header("RateLimit-Remaining", str(verdict.remaining))
        resp.set_header("RateLimit-Reset", str(reset_s))
        if not verdict.allowed:
            wait_s = max(1, math.ceil(verdict.retry_after_s))
            resp.set_header("Retry-After", str(wait_s))
            raise RateLimited(f"at most {limit} requests a minute", retry_after_s=wait_s)
