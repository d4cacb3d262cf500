"""What can go wrong, as the domain says it; `api/errors.py` alone turns a kind into an HTTP status."""


class DomainError(Exception):
    """A refusal with a stable code, a message for people and the facts that explain it."""

    code = "error"

    def __init__(self, message: str, *, code: str | None = None, **facts: object) -> None:
        """Keep the message, the facts and, where one class serves several facts, the code."""
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.facts = facts


class Invalid(DomainError):
    """The request can never succeed as it stands."""

    code = "invalid"


class Unauthenticated(DomainError):
    """The caller did not prove who it is."""

    code = "unauthenticated"


class Forbidden(DomainError):
    """The caller's role may not do this."""

    code = "forbidden"


class NotFound(DomainError):
    """There is no such object, or it is somebody else's."""

    code = "not_found"


class Conflict(DomainError):
    """The object's present state does not allow it."""

    code = "conflict"


class RateLimited(DomainError):
    """The caller asks too often; `retry_after_s` says when to come back."""

    code = "rate_limited"


class Unavailable(DomainError):
    """A part is out of reach; the same request may succeed later."""

    code = "unavailable"


class IdempotencyMismatch(Invalid):
    """The idempotency key was used for another payload."""

    code = "idempotency_key_reused"


class IllegalTransition(Conflict):
    """The state machine has no such step from the object's present state."""

    code = "illegal_transition"


class Refused(DomainError):
    """The database refused a batch: an invariant would break. Halve the batch to find the bad row."""

    code = "refused"
