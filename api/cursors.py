"""Cursors as they travel: whatever marks a place in a list, in the letters that an address takes."""

import base64

from domain.errors import Invalid


def encode_cursor(place: bytes) -> str:
    """Return an opaque cursor."""
    return base64.urlsafe_b64encode(place).decode().rstrip("=")


def decode_cursor(cursor: str) -> bytes:
    """Return what a cursor was made of. Errors: Invalid `cursor_invalid`."""
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise not_ours() from None


def not_ours() -> Invalid:
    """Return the refusal of a cursor that nobody here has made."""
    return Invalid("the cursor is not one of ours", code="cursor_invalid")
