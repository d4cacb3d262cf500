"""What every request gets: an id, a log context, a measured duration."""

import re
import time
from uuid import uuid4

import structlog
from falcon.asgi import Request, Response

from api.metrics import REQUEST_SECONDS

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestContext:
    """Binds the request id to the logs, returns it, and observes the duration."""

    async def process_request(self, req: Request, resp: Response) -> None:
        """Take the caller's request id if it is a sane one, else make one."""
        given = req.get_header("X-Request-Id") or ""
        req.context.request_id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
        req.context.started = time.perf_counter()
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=req.context.request_id)

    async def process_response(
        self,
        req: Request,
        resp: Response,
        resource: object,
        req_succeeded: bool,  # noqa: FBT001 - Falcon passes it by position
    ) -> None:
        """Return the id, forbid sniffing and caching of answers, observe the duration."""
        resp.set_header("X-Request-Id", req.context.request_id)
        resp.set_header("X-Content-Type-Options", "nosniff")
        if not resp.get_header("Cache-Control"):
            resp.set_header("Cache-Control", "no-store")
        seconds = time.perf_counter() - req.context.started
        route = req.uri_template or "unmatched"
        REQUEST_SECONDS.labels(req.method, route, str(resp.status_code)).observe(seconds)
