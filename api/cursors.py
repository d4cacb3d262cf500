"""Cursors as they travel: whatever marks a place in a list, in the letters that an address takes."""

import base64
import re
from collections.abc import Sequence
from itertools import pairwise

from domain.errors import Invalid

_SNAPSHOT = re.compile(r"[0-9]{1,19}:[0-9]{1,19}:(?:[0-9]{1,19}(?:,[0-9]{1,19})*)?")
_MAX_XID = 2**62
_XIDS_OF_AN_EPOCH = 2**32


def encode_cursor(place: bytes) -> str:
    """Return an opaque cursor."""
    return base64.urlsafe_b64encode(place).decode().rstrip("=")


def decode_cursor(cursor: str) -> bytes:
    """Return what a cursor was made of. Errors: Invalid `cursor_invalid`."""
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise not_ours() from None


def write_snapshot(xmin: int, xmax: int, under_way: Sequence[int]) -> str:
    """Return what a snapshot saw, as PostgreSQL writes and reads it. Errors: Invalid `cursor_invalid`."""
    # Ascending, and nothing is named zero, which is no transaction's number.
    is_ascending = all(one < other for one, other in pairwise((xmin - 1, *under_way, xmax)))
    is_named = all(number % _XIDS_OF_AN_EPOCH for number in (xmin, xmax, *under_way))
    if xmax > _MAX_XID or not (is_ascending and is_named):
        raise not_ours()
    return f"{xmin}:{xmax}:{','.join(map(str, under_way))}"


def read_snapshot(text: str) -> tuple[int, int, list[int]]:
    """Return the numbers in a snapshot: its `xmin` and `xmax`, and what was under way between them.

    Errors: Invalid `cursor_invalid`.
    """
    if not _SNAPSHOT.fullmatch(text):
        raise not_ours()
    xmin, xmax, under_way = text.split(":")
    return int(xmin), int(xmax), [int(number) for number in under_way.split(",") if number]


def not_ours() -> Invalid:
    """Return the refusal of a cursor that nobody here has made."""
    return Invalid("the cursor is not one of ours", code="cursor_invalid")
