"""Stripe's idempotency (https://docs.stripe.com/api/idempotent_requests) for every POST."""

import hashlib
from typing import NamedTuple

from ops.stripe_sandbox.errors import ApiError, invalid
from ops.stripe_sandbox.forms import Pairs
from ops.stripe_sandbox.objects import View
from ops.stripe_sandbox.sandbox import Sandbox

KEPT_S = 24 * 3600
LONGEST_KEY = 255


class Remembered(NamedTuple):
    """What a key was first used for, and the answer it got."""

    path: str
    fingerprint: bytes
    status: int
    view: View
    request_id: str
    created: int


class Idempotency:
    """The keys in use and those that were used within the last 24 hours of the sandbox's clock."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._in_flight: set[str] = set()

    def begin(self, key: str, path: str, fingerprint: bytes) -> Remembered | None:
        """Return the first answer to this key, or take the key until `end`; a wrong use raises ApiError."""
        if not 1 <= len(key) <= LONGEST_KEY:
            message = f"Idempotency keys must be at most {LONGEST_KEY} characters; this one has {len(key)}."
            raise invalid(message)
        self._forget_old()
        known: Remembered | None = self._sandbox.store.keys.get(key)
        if known is not None:
            _check_same(key, known, path, fingerprint)
            return known
        if key in self._in_flight:
            raise _in_use(key)
        self._in_flight.add(key)
        return None

    def end(self, key: str) -> None:
        """Release a key that `begin` took."""
        self._in_flight.discard(key)

    def remember(self, key: str, answer: Remembered) -> None:
        """Keep the first answer to this key."""
        self._sandbox.store.keys.put(key, answer)

    def _forget_old(self) -> None:
        keys = self._sandbox.store.keys
        horizon = self._sandbox.now() - KEPT_S
        while keys.rows:
            oldest = next(iter(keys.rows))
            if keys.rows[oldest].created >= horizon:
                return
            keys.remove(oldest)


def fingerprint(pairs: Pairs) -> bytes:
    """Return a digest of the parameters that does not depend on their order."""
    return hashlib.blake2b(repr(sorted(pairs)).encode(), digest_size=16).digest()


def _check_same(key: str, known: Remembered, path: str, fingerprint: bytes) -> None:
    if known.path != path:
        message = (
            "Keys for idempotent requests can only be used for the same endpoint they were first used for"
            f" ('{path}' vs '{known.path}'). Try using a key other than '{key}' if you meant to execute a"
            " different request."
        )
        raise ApiError(400, "idempotency_error", message)
    if known.fingerprint != fingerprint:
        message = (
            "Keys for idempotent requests can only be used with the same parameters they were first used"
            f" with. Try using a key other than '{key}' if you meant to execute a different request."
        )
        raise ApiError(400, "idempotency_error", message)


def _in_use(key: str) -> ApiError:
    message = (
        f"There is currently another in-progress request using this Idempotent Key ({key}) (that probably"
        " means you submitted twice, and the other request is still going through)."
    )
    return ApiError(409, "idempotency_error", message, code="idempotency_key_in_use")
