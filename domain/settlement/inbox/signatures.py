"""Stripe's webhook signatures, checked by hand.

The SDK's own check accepts any future timestamp and raises errors of many kinds on garbage before the
signature is known to be good (docs.stripe.com/webhooks#verify-manually).
"""

import hmac
from collections.abc import Sequence
from datetime import datetime

from domain.errors import DomainError

TOLERANCE_S = 300
_MAX_HEADER_CHARS = 2_000


class SignatureInvalid(DomainError):
    """The webhook was not signed by Stripe with one of our secrets, or not now."""

    code = "signature_invalid"


def verify_signature(body: bytes, header: str, secrets: Sequence[str], now: datetime) -> None:
    """Refuse a body that is not signed with one of the secrets within five minutes of now, either side.

    All secrets and signatures are compared, in constant time. Errors: SignatureInvalid.
    """
    timestamp, signatures = _parse(header)
    if abs(now.timestamp() - timestamp) > TOLERANCE_S:
        raise SignatureInvalid("the signature's timestamp is out of tolerance", code="signature_expired")
    signed = str(timestamp).encode() + b"." + body
    good = False
    for secret in secrets:
        expected = hmac.digest(secret.encode(), signed, "sha256").hex().encode()
        for signature in signatures:
            good |= hmac.compare_digest(expected, signature.encode())
    if not good:
        raise SignatureInvalid("no signature matches")


def _parse(header: str) -> tuple[int, Sequence[str]]:
    if len(header) > _MAX_HEADER_CHARS or not header.isascii():
        raise SignatureInvalid("the signature header is malformed")
    timestamp: int | None = None
    signatures = []
    for item in header.split(","):
        key, _, value = item.strip().partition("=")
        # NOTE: isdecimal admits no sign, no space and no underscore, which int() would.
        if key == "t" and value.isdecimal() and len(value) <= len(str(10**12)) and timestamp is None:
            timestamp = int(value)
        elif key == "t":
            raise SignatureInvalid("the signature header is malformed")
        elif key == "v1":
            signatures.append(value)
    if timestamp is None or not signatures:
        raise SignatureInvalid("the signature header is malformed")
    return timestamp, signatures
