"""A journal's id tells when it was made, so what was booked in a period lies in a span of ids.

There is a day on either side, for clocks. `marketflow ledger verify` proves that no journal lies outside.
"""

from datetime import datetime
from uuid import UUID

from domain.ids import JournalId

_CLOCKS_S = 86_400


def first_journal_id(at: datetime) -> JournalId:
    """Return an id before those of all journals of that moment and later."""
    return _id_at(at.timestamp() - _CLOCKS_S)


def last_journal_id(at: datetime) -> JournalId:
    """Return an id after those of all journals of that moment and earlier."""
    return _id_at(at.timestamp() + _CLOCKS_S)


def _id_at(timestamp_s: float) -> JournalId:
    """Return the least UUIDv7 of a moment."""
    return JournalId(UUID(int=max(int(timestamp_s * 1000), 0) << 80))
