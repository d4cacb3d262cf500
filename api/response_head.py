"""The heads of answers: checked and written as gunicorn does, but all of their headers at once.

PERF: gunicorn looks at each header by itself, twice, and an answer of ours has a dozen of them. The names are the
same for all answers of a route, so what follows from them is kept. What is unusual is left to gunicorn.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from gunicorn.asgi import protocol
from gunicorn.http.message import TOKEN_RE
from gunicorn.http.wsgi import HEADER_VALUE_RE

Headers = Sequence[tuple[bytes, bytes]]
Framing = tuple[bool, bytes | None, bool]
"""Whether there is a Content-Length, which, and whether there is a Transfer-Encoding."""

_NAME = re.compile(TOKEN_RE.pattern.encode("latin-1"))
_VALUES = re.compile(HEADER_VALUE_RE.pattern.encode("latin-1"))
_OF_THE_SERVER = frozenset((b"server", b"date", b"connection"))
_scan_by_gunicorn = protocol._scan_response_headers  # noqa: SLF001 - it has no other name


class _Names(NamedTuple):
    """What follows from the names of an answer's headers."""

    length_at: int | None
    has_transfer_encoding: bool
    lines: bytes
    """A line for each header, with `%b` for its value."""


@lru_cache(maxsize=1_024)
def _read_names(names: tuple[bytes, ...]) -> _Names:
    """Check names. Errors: ValueError for what is no name, or one that gunicorn must see; TypeError for text."""
    lowered = [name.lower() for name in names]
    if not all(map(_NAME.fullmatch, names)) or not _OF_THE_SERVER.isdisjoint(lowered):
        raise ValueError(names)
    length_at = lowered.index(b"content-length") if b"content-length" in lowered else None
    lines = b"".join(b"%b: %%b\r\n" % name.replace(b"%", b"%%") for name in names)
    if lowered.count(b"content-length") > 1:
        raise ValueError(names)
    return _Names(length_at, b"transfer-encoding" in lowered, lines)


def scan_response_headers(headers: Headers) -> Framing:
    """Check an answer's headers, and tell how it is framed. Errors: InvalidResponseHeader(Name)."""
    try:
        names, values = zip(*headers, strict=True)
        known = _read_names(names)
        # What may stand in a value may stand anywhere in it, so they are as good as one.
        if _VALUES.fullmatch(b"".join(values)) is not None:
            length = None if known.length_at is None else values[known.length_at]
            return length is not None, length, known.has_transfer_encoding
    except (TypeError, ValueError):
        pass  # None at all, text instead of bytes, or a name of which gunicorn has something to say.
    framing: Framing = _scan_by_gunicorn(headers)
    return framing


def render_headers(headers: Headers) -> bytes | None:
    """Return the lines of headers that were checked; None where gunicorn must write them."""
    try:
        names, values = zip(*headers, strict=True)
        return _read_names(names).lines % values
    except (TypeError, ValueError):
        return None
