"""Arrays as PostgreSQL reads them in text.

PERF: batches travel as one array a column; psycopg writes arrays of a general kind in Python, element by element,
which took a twentieth of the API's time.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from operator import attrgetter
from uuid import UUID


def write_array(values: Sequence[object]) -> str:
    """Return the literal of a flat array (postgresql.org/docs/current/arrays.html#ARRAYS-IO).

    The statement casts it to its type, or compares it with a column that has one. Errors: TypeError for elements
    of another type than those that the repositories use.
    """
    return "{" + ",".join([_WRITERS.get(type(value), _write_other)(value) for value in values]) + "}"


def _quote(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _write_other(value: object) -> str:
    """Write what is a subclass: a StrEnum."""
    if isinstance(value, str):
        return _quote(value)
    raise TypeError(f"no array of {type(value).__name__}")


_WRITERS: dict[type, Callable[..., str]] = {
    type(None): lambda _: "NULL",
    bool: lambda value: "t" if value else "f",
    int: str,
    str: _quote,
    UUID: attrgetter("hex"),
    datetime: datetime.isoformat,
    bytes: lambda value: '"\\\\x' + value.hex() + '"',
}
