"""Fingerprints of requests, by which the reuse of an idempotency key for something else is noticed."""

import hashlib
import json


def fingerprint(**payload: object) -> bytes:
    """Return the SHA-256 of a request's meaning: its fields in a fixed order, ids as text."""
    canonical = json.dumps(payload, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).digest()
