"""Arrays as PostgreSQL reads them: in binary where the statement says of what they are, else in text.

PERF: batches travel as one array a column. psycopg writes arrays of a general kind in Python, element by element,
which took a twentieth of the API's time; and text must be quoted here and read there letter by letter, which for
the body of a webhook took longer than to check its signature.
"""

import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct
from uuid import UUID

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

_CASTS = re.compile(r"CAST\(:(\w+) AS (\w+)\[\]\)")
_NULL = b"\xff\xff\xff\xff"
_EMPTY = Struct("!3i")
_HEAD = Struct("!5i")
_LENGTH = Struct("!i")
_SHORT, _INT, _LONG = Struct("!ih"), Struct("!ii"), Struct("!iq")
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_UUID_LENGTH = _LENGTH.pack(16)
_JSONB_VERSION = b"\x01"
_FLAGS = {False: b"\x00\x00\x00\x01\x00", True: b"\x00\x00\x00\x01\x01"}


class BinaryArray(bytes):
    """A flat array as the server receives it (`array_recv`); of what it is, the statement says by a cast."""

    __slots__ = ()


class _BinaryArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: BinaryArray) -> Buffer:
        return obj


psycopg.adapters.register_dumper(BinaryArray, _BinaryArrayDumper)


def read_array_types(statement: str) -> Mapping[str, str]:
    """Return, by parameter, of what its array is, where the statement says it by a cast.

    Errors: ValueError for a kind that nobody has taught us to write.
    """
    kinds = dict(_CASTS.findall(statement))
    if unknown := set(kinds.values()) - set(_KINDS):
        raise ValueError(f"no array of {', '.join(sorted(unknown))}")
    return kinds


def write_binary(values: Sequence[object], kind: str) -> BinaryArray:
    """Return a flat array of a kind that `read_array_types` returns.

    Errors: psycopg.DataError for a number that the kind cannot hold, as of the server; TypeError,
    AttributeError or KeyError for elements of another type.
    """
    oid, write = _KINDS[kind]
    if not values:
        return BinaryArray(_EMPTY.pack(0, 0, oid))
    try:
        elements = [_NULL if value is None else write(value) for value in values]
    except struct.error as wrong:
        raise psycopg.DataError(f"no {kind}: {wrong}") from wrong
    return BinaryArray(b"".join((_HEAD.pack(1, 1, oid, len(values), 1), *elements)))


def _with_length(value: bytes) -> bytes:
    return _LENGTH.pack(len(value)) + value


def _write_text(value: str) -> bytes:
    return _with_length(value.encode())


def _write_jsonb(value: str) -> bytes:
    return _with_length(_JSONB_VERSION + value.encode())


def _write_time(value: datetime) -> bytes:
    return _LONG.pack(8, (value - _EPOCH) // _MICROSECOND)


# The types' numbers are of the server's own catalogue, pg_type.dat; they never change.
_KINDS: Mapping[str, tuple[int, Callable[..., bytes]]] = {
    "bigint": (20, lambda value: _LONG.pack(8, value)),
    "boolean": (16, _FLAGS.__getitem__),
    "bytea": (17, _with_length),
    "integer": (23, lambda value: _INT.pack(4, value)),
    "jsonb": (3802, _write_jsonb),
    "smallint": (21, lambda value: _SHORT.pack(2, value)),
    "text": (25, _write_text),
    "timestamptz": (1184, _write_time),
    "uuid": (2950, lambda value: _UUID_LENGTH + value.bytes),
}


def write_array(values: Iterable[str | UUID]) -> str:
    """Return the literal of a flat array (postgresql.org/docs/current/arrays.html#ARRAYS-IO).

    The statement compares it with a column that has a type. Errors: TypeError for elements of another type.
    """
    return "{" + ",".join([value.hex if isinstance(value, UUID) else _quote(value) for value in values]) + "}"


def _quote(value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"no array of {type(value).__name__}")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
