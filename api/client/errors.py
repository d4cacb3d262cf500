"""What can go wrong, from the caller's point of view."""

from collections.abc import Mapping
from typing import Any

import httpx


class MarketFlowError(Exception):
    """Anything that this client raises by itself."""


class Unanswered(MarketFlowError):
    """No answer came, or none but "later": what was asked for may have happened, or may not.

    Ask again with the same `key`, and nothing happens twice.
    """

    def __init__(self, message: str, *, key: str | None = None) -> None:
        """Keep the idempotency key of the request, if it had one."""
        super().__init__(message)
        self.key = key


class Refused(MarketFlowError):
    """The server said no; `code` is stable and `facts` explain (RFC 9457).

    An attempt before that may have gone unanswered: ask again with the same `key`, and nothing happens twice.
    """

    def __init__(
        self, status: int, code: str, detail: str, facts: Mapping[str, Any], *, key: str | None = None
    ) -> None:
        """Keep what the problem document says, and the idempotency key of the request, if it had one."""
        super().__init__(": ".join([f"{status} {code}", detail, *_wrong_fields(facts)]))
        self.status = status
        self.code = code
        self.detail = detail
        self.facts = facts
        self.key = key


class Unauthenticated(Refused):
    """The token or key is missing, wrong or over."""


class Forbidden(Refused):
    """The caller's role, or its key's scope, does not allow it."""


class NotFound(Refused):
    """There is no such object, or it is somebody else's."""


class Conflict(Refused):
    """The object's present state does not allow it."""


class Invalid(Refused):
    """The request can never succeed as it stands."""


class RateLimited(Refused):
    """The caller asks too often, and did so for longer than this client waits."""


class Unavailable(Refused):
    """The server cannot do it now; it may have done it, where a database did not answer in time."""


class StillPending(MarketFlowError, TimeoutError):
    """The time to wait is over and the payment is not settled; `payment` is how it stands."""

    def __init__(self, payment: Mapping[str, Any]) -> None:
        """Keep the payment."""
        super().__init__(f"payment {payment['id']} is {payment['status']}")
        self.payment = payment


class WebhookInvalid(MarketFlowError):
    """A webhook that is not signed by the secret, too old, or not what was signed."""


_BY_STATUS: Mapping[int, type[Refused]] = {
    400: Invalid,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    429: RateLimited,
    503: Unavailable,
}


def _wrong_fields(facts: Mapping[str, Any]) -> list[str]:
    """Return what is said of fields, in one text; none where nothing is."""
    errors = facts.get("errors")
    said = [
        ": ".join(str(part) for part in (each.get("field"), each["message"]) if part)
        for each in (errors if isinstance(errors, list) else ())
        if isinstance(each, dict) and "message" in each
    ]
    return ["; ".join(said)] if said else []


def refusal(answer: httpx.Response, *, key: str | None = None) -> Refused:
    """Return the error that an answer is, of a request with that key."""
    try:
        problem = dict(answer.json())
    except (ValueError, TypeError):
        problem = {}
    code, detail = str(problem.pop("code", "unknown")), str(problem.pop("detail", answer.reason_phrase))
    kind = _BY_STATUS.get(answer.status_code, Refused)
    return kind(answer.status_code, code, detail, problem, key=key)
