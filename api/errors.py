"""THE table: which kind of domain error is which HTTP status; and problem documents (RFC 9457) for all of them."""

import json
import time
from collections.abc import Mapping
from http import HTTPStatus

import falcon
import structlog
from falcon.asgi import App, Request, Response

from api.metrics import REFUSALS
from domain.errors import (
    Conflict,
    DomainError,
    Forbidden,
    Invalid,
    NotFound,
    RateLimited,
    Refused,
    Unauthenticated,
    Unavailable,
)
from domain.settlement.inbox.signatures import SignatureInvalid

PROBLEM_JSON = "application/problem+json"

# The first kind that fits counts.
STATUS_BY_KIND: tuple[tuple[type[DomainError], HTTPStatus], ...] = (
    (SignatureInvalid, HTTPStatus.BAD_REQUEST),
    (Unauthenticated, HTTPStatus.UNAUTHORIZED),
    (Forbidden, HTTPStatus.FORBIDDEN),
    (NotFound, HTTPStatus.NOT_FOUND),
    (Invalid, HTTPStatus.UNPROCESSABLE_ENTITY),
    (Conflict, HTTPStatus.CONFLICT),
    # The database held an invariant that no rule here had foreseen: a race was lost.
    (Refused, HTTPStatus.CONFLICT),
    (RateLimited, HTTPStatus.TOO_MANY_REQUESTS),
    (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
)
RETRY_AFTER_S = 1
"""What a client is told when a part is out of reach."""

log = structlog.get_logger(__name__)


class BadRequest(DomainError):
    """The request cannot be understood: its JSON, its headers, its size or its media type."""

    code = "bad_request"

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        """Keep the status too: these errors are HTTP's own, and never come from the domain."""
        super().__init__(message, code=code)
        self.status = status


class _Unavailable:
    """Tells the log that a part is out of reach, but not for each of the thousands who ask meanwhile."""

    def __init__(self) -> None:
        self._told_at: dict[str, float] = {}

    def tell(self, code: str, route: str | None) -> None:
        """Write a line, once a second for each kind."""
        now = time.monotonic()
        if now - self._told_at.get(code, -_SILENCE_S) >= _SILENCE_S:
            self._told_at[code] = now
            log.warning("unavailable", code=code, route=route)


_SILENCE_S = 1.0
_UNAVAILABLE = _Unavailable()


def install(app: App[Request, Response]) -> None:
    """Make every error a problem document."""
    app.add_error_handler(Exception, _unexpected)
    app.add_error_handler(falcon.HTTPError, _http_error)
    app.add_error_handler(DomainError, _domain_error)


def status_of(error: DomainError) -> HTTPStatus:
    """Return the HTTP status of a domain error."""
    if isinstance(error, BadRequest):
        return error.status
    for kind, status in STATUS_BY_KIND:
        if isinstance(error, kind):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


async def _domain_error(
    req: Request, resp: Response | None, error: Exception, params: object, **_: object
) -> None:
    assert isinstance(error, DomainError)  # noqa: S101 - registered for this class alone
    assert resp is not None  # noqa: S101 - None is for WebSockets
    status = status_of(error)
    REFUSALS.labels(error.code).inc()
    if isinstance(error, Unavailable):
        resp.set_header("Retry-After", str(RETRY_AFTER_S))
        _UNAVAILABLE.tell(error.code, req.uri_template)
    if isinstance(error, RateLimited):
        resp.set_header("Retry-After", str(error.facts.get("retry_after_s", RETRY_AFTER_S)))
    if isinstance(error, Unauthenticated):
        resp.set_header("WWW-Authenticate", "Bearer")
    if isinstance(error, Refused):
        log.error("database_refused", reason=error.message)
        write_problem(resp, status, error.code, "the request conflicts with the present state")
        return
    write_problem(resp, status, error.code, error.message, error.facts)


async def _http_error(req: Request, resp: Response | None, error: Exception, params: object, **_: object) -> None:
    """Render what Falcon itself refuses: no such route, method not allowed, a malformed header."""
    assert isinstance(error, falcon.HTTPError)  # noqa: S101 - registered for this class alone
    assert resp is not None  # noqa: S101 - None is for WebSockets
    status = HTTPStatus(error.status_code)
    for name, value in dict(error.headers or {}).items():
        resp.set_header(name, value)
    code = error.code if isinstance(error.code, str) else status.phrase.lower().replace(" ", "_")
    write_problem(resp, status, code, error.description or status.description)


async def _unexpected(req: Request, resp: Response | None, error: Exception, params: object, **_: object) -> None:
    assert resp is not None  # noqa: S101 - None is for WebSockets
    log.error("unexpected_error", method=req.method, route=req.uri_template, exc_info=error)
    write_problem(resp, HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "something went wrong on our side")


def write_problem(
    resp: Response, status: HTTPStatus, code: str, detail: str, facts: Mapping[str, object] | None = None
) -> None:
    """Write a problem document as the answer; a fact never replaces one of its own members."""
    problem = {
        **(facts or {}),
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "code": code,
        "detail": detail,
    }
    resp.status = int(status)
    resp.content_type = PROBLEM_JSON
    resp.data = json.dumps(problem, default=str).encode()
    resp.text = None
