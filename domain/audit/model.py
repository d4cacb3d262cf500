"""The audit log: what happened and what was booked, sealed in batches that are chained by their hashes.

A record is one event, or one journal with its entries, as a line of text that holds every column that matters. A
seal covers the records of one log over a range of positions without gaps; its index holds the key and the SHA-256
of each record in their order, and its hash covers the index, the range and the hash of the seal before. So whoever
has the hash of any one seal from outside the database can tell whether anything up to there was changed, removed,
inserted or put into another order.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

FORMAT = "marketflow-audit-1"
"""Names the encoding. It changes with any change of what is hashed."""
GENESIS = bytes(32)
"""Stands for the hash before the first seal."""
BEFORE_ALL = -(2**63)
"""Lies before all positions; the first seal of a log begins there, so that nothing hides below it."""
MAX_EXTRA = 20_000
"""How many more records than a seal counts are looked at; one is enough to tell that it is broken. Several times a
batch, so that a seal of long journals is read whole: their entries are what the limit counts."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGEST_BYTES = 32


class Log(StrEnum):
    """What is sealed. Events stand at their position, journals at the id of the transaction that posted them."""

    EVENTS = "events"
    JOURNALS = "journals"


KEY_BYTES: Mapping[Log, int] = {Log.EVENTS: 8, Log.JOURNALS: 16}
"""An event is known by its position, a journal by its id."""


@dataclass(frozen=True, slots=True)
class Record:
    """One event or journal at its position: `text` is its canonical form, which `db/audit.py` documents."""

    position: int
    key: bytes
    text: str

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the text in UTF-8."""
        return hashlib.sha256(self.text.encode()).digest()


@dataclass(frozen=True, slots=True)
class Seal:
    """A link of the chain: all records of a log from one position through another, both included."""

    number: int
    log: Log
    first_position: int
    last_position: int
    count: int
    index: bytes
    previous_hash: bytes
    hash: bytes
    sealed_at: datetime

    @property
    def after(self) -> int:
        """The position behind which it begins."""
        return self.first_position - 1 if self.first_position > 1 else BEFORE_ALL

    def compute_hash(self) -> bytes:
        """Return the hash that its other fields make."""
        sealed_at_us = (self.sealed_at - _EPOCH) // timedelta(microseconds=1)
        facts = (self.number, self.log, self.first_position, self.last_position, self.count, sealed_at_us)
        header = "\n".join((FORMAT, *map(str, facts), self.previous_hash.hex(), ""))
        return hashlib.sha256(header.encode() + self.index).digest()

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield key and digest of each record."""
        width = KEY_BYTES[self.log] + _DIGEST_BYTES
        for start in range(0, len(self.index), width):
            entry = self.index[start : start + width]
            yield entry[:-_DIGEST_BYTES], entry[-_DIGEST_BYTES:]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was sealed: in which seal, and of which record, where one can be named."""

    seal: int
    what: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What recomputing the chain has shown; the last seal is the head."""

    seals: int
    records: int
    head: Seal | None
    findings: Sequence[Finding]


def make_seal(
    previous: Seal | None, log: Log, first_position: int, records: Sequence[Record], at: datetime
) -> Seal:
    """Return the seal of some records, in their order, that follows another."""
    seal = Seal(
        number=previous.number + 1 if previous else 1,
        log=log,
        first_position=first_position,
        last_position=records[-1].position,
        count=len(records),
        index=b"".join(record.key + record.digest for record in records),
        previous_hash=previous.hash if previous else GENESIS,
        hash=b"",
        sealed_at=at,
    )
    return replace(seal, hash=seal.compute_hash())


def compare(seal: Seal, records: Sequence[Record]) -> Iterator[Finding]:
    """Yield how the records that are there differ from those that were sealed."""
    there = {record.key: record for record in records}
    sealed = dict(seal.entries())
    for key, digest in sealed.items():
        if key not in there:
            yield Finding(seal.number, f"{_name(seal.log, key)} was removed")
        elif there[key].digest != digest:
            yield Finding(seal.number, f"{_name(seal.log, key)} was changed")
    for key in there.keys() - sealed.keys():
        yield Finding(seal.number, f"{_name(seal.log, key)} was inserted")
    if len(there) < len(records):
        yield Finding(seal.number, f"there are {seal.log} twice")
    elif sealed.keys() == there.keys() and list(sealed) != list(there):
        yield Finding(seal.number, f"the {seal.log} stand in another order")


def _name(log: Log, key: bytes) -> str:
    if log is Log.EVENTS:
        return f"the event at position {int.from_bytes(key, signed=True)}"
    return f"the journal {UUID(bytes=key) if len(key) == KEY_BYTES[log] else key.hex()}"
