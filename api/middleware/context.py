"""What every request gets: an id, a log context, a measured duration, and perhaps a span."""

import itertools
import os
import re
import secrets
import time
from functools import lru_cache

from falcon.asgi import Request, Response
from prometheus_client import Histogram

from api.metrics import REQUEST_SECONDS
from domain.ids import time_ns
from ops.telemetry import PAYMENT_ID, REQUEST_ID
from ops.tracing import RequestTrace, is_tracing

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class _RequestIds:
    """Ids of this process's requests: UUIDv7 in hexadecimal digits, so that traces find payments by their time.

    They are dated a millisecond early, so that they sort before the ids of all that the request makes.
    PERF: time, a counter and 60 random bits of the process cost a tenth of a UUID. The ids need not be secret.
    """

    process = ""
    count = itertools.count()

    @classmethod
    def begin(cls) -> None:
        """Draw new random bits, so that a forked process makes other ids than its parent."""
        cls.process = f"8{secrets.token_hex(8)[1:]}"  # the variant of RFC 9562, section 4.1, and 60 random bits

    @classmethod
    def next(cls) -> str:
        """Return one that was not used before, unless 4,096 were made in this millisecond."""
        return f"{time_ns() // 1_000_000 - 1:012x}7{next(cls.count) & 0xFFF:03x}{cls.process}"


_RequestIds.begin()
os.register_at_fork(after_in_child=_RequestIds.begin)


class RequestContext:
    """Binds the request id to the logs, returns it, and observes the duration."""

    async def process_request(self, req: Request, resp: Response) -> None:
        """Take the caller's request id if it is well-formed, else make one."""
        given = req.get_header("X-Request-Id") or ""
        request_id = given if given and _REQUEST_ID.fullmatch(given) else _RequestIds.next()
        req.context.request_id = request_id
        req.context.started = time.perf_counter()
        req.context.trace = RequestTrace.begin(req.get_header("traceparent")) if is_tracing() else None
        REQUEST_ID.set(request_id)
        PAYMENT_ID.set(None)  # the last request of this connection may have set one

    async def process_response(
        self,
        req: Request,
        resp: Response,
        resource: object,
        req_succeeded: bool,  # noqa: FBT001 - Falcon passes it by position
    ) -> None:
        """Return the id, forbid browsers to sniff or cache the answer, observe the duration."""
        resp.set_headers((("X-Request-Id", req.context.request_id), ("X-Content-Type-Options", "nosniff")))
        if not resp.get_header("Cache-Control"):
            resp.set_header("Cache-Control", "no-store")
        route = req.uri_template or "unmatched"
        seconds = time.perf_counter() - req.context.started
        _duration_of(req.method, route, resp.status_code).observe(seconds)
        if req.context.trace is not None:
            req.context.trace.end(req.method, route, resp.status_code, req.context.request_id)


@lru_cache(maxsize=4_096)
def _duration_of(method: str, route: str, status: int) -> Histogram:
    """Return the series for these labels. PERF: the library looks it up under a lock, as texts."""
    return REQUEST_SECONDS.labels(method, route, str(status))
