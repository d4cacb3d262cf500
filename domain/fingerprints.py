"""Fingerprints of requests, by which the reuse of an idempotency key for something else is noticed."""

import hashlib
import json

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str)


def fingerprint(**payload: object) -> bytes:
    """Return the SHA-256 of a request's meaning: its fields in a fixed order, ids as text."""
    return hashlib.sha256(_CANONICAL.encode(payload).encode()).digest()
