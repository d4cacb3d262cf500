"""Opaque tokens: random, known by their hash alone.

They have 256 random bits, so a plain SHA-256 keeps them as safe as a slow hash would (NIST SP 800-63B, section
3.1.2.2 asks for a slow one below 112 bits).
"""

import base64
import hashlib
import hmac
import re
import secrets

_SECRET_BYTES = 32
_PREFIX_BYTES = 6
_REFRESH = "mfr_"
API_KEY = "mf_"
_API_KEY_FORM = re.compile(r"mf_([0-9a-f]{12})_[0-9a-f]{64}")


def digest(token: str) -> bytes:
    """Return the hash under which a token is kept."""
    return hashlib.sha256(token.encode()).digest()


def new_refresh_token() -> str:
    """Return the first refresh token of a session."""
    return _REFRESH + secrets.token_urlsafe(_SECRET_BYTES)


def new_seed() -> bytes:
    """Return what makes a token's successor from it."""
    return secrets.token_bytes(_SECRET_BYTES)


def successor(token: str, seed: bytes) -> str:
    """Return the refresh token that follows on this one; only who has both can tell it."""
    follows = hmac.digest(seed, token.encode(), "sha256")
    return _REFRESH + base64.urlsafe_b64encode(follows).decode().rstrip("=")


def new_api_key() -> tuple[str, str]:
    """Return the visible prefix of a new key, and the key."""
    prefix = secrets.token_hex(_PREFIX_BYTES)
    return prefix, f"{API_KEY}{prefix}_{secrets.token_hex(_SECRET_BYTES)}"


def prefix_of(api_key: str) -> str | None:
    """Return the visible prefix of what looks like a key."""
    found = _API_KEY_FORM.fullmatch(api_key)
    return found.group(1) if found else None
