"""The audit log in PostgreSQL.

The canonical form of a record is made here alone, and is the text of a jsonb array, so it holds no line break:

- an event: [position, id, type, subject_id, created_at in microseconds since 1970, transaction_id, audience, data]
- a journal: [id, kind, source, payment_id, currency, entry_count, created_at in the same way, entries,
  conversion], where each entry is [line, account, currency, amount_minor, transaction_id] by line, and a
  conversion is [from_currency, from_minor, to_currency, to_minor, exchange_rate as text] or null

PostgreSQL writes a jsonb value in one way only: members by length and then bytes of their names, a blank after
each colon and comma, numbers with the decimals that they came with.

PERF: a journal's record is made of json, which writes the same text (a test holds that) in 15 µs instead of 24: it
is not taken apart for a tree and put together again.
"""

from collections.abc import Sequence
from datetime import datetime

from db.connection import Connection, Row
from db.sql import Sql
from domain.audit.model import KEY_BYTES, Log, Record, Seal

AUDIT_LOCK = 0x6D66_0003
"""Names sealing among the advisory locks."""

_ENTRIES_A_JOURNAL = 8
"""More than nearly all journals have; the limit of a read is that of its entries."""

_TRY_LOCK = Sql("SELECT pg_try_advisory_xact_lock(:key)")
_NAMES = "number, log, first_position, last_position, count, index, previous_hash, hash, sealed_at"
_LAST_SEAL = Sql(f"SELECT {_NAMES} FROM audit_seals ORDER BY number DESC LIMIT 1")
_SEALS = Sql(f"SELECT {_NAMES} FROM audit_seals WHERE number >= :first ORDER BY number LIMIT :limit")
_SEALED_THROUGH = Sql(
    """
    SELECT coalesce(max(last_position), 0) FROM audit_seals
    WHERE log = :log AND (CAST(:before AS bigint) IS NULL OR number < :before)
    """
)
_OLDEST_UNSEALED = Sql(
    """
    SELECT created_at FROM events
    WHERE position > (SELECT coalesce(max(last_position), 0) FROM audit_seals WHERE log = 'events')
    ORDER BY position LIMIT 1
    """
)
_ADD = Sql(
    f"""
    INSERT INTO audit_seals ({_NAMES})
    VALUES (:number, :log, :first_position, :last_position, :count, :index, :previous_hash, :hash, :sealed_at)
    """
)
_EVENTS = Sql(
    """
    SELECT e.position,
           jsonb_build_array(e.position, e.id, e.type, e.subject_id,
               (extract(epoch FROM e.created_at) * 1000000)::bigint, e.transaction_id, e.audience, e.data
           )::text AS record
    FROM events e WHERE e.position > :after AND e.position <= :through
    ORDER BY e.position LIMIT :limit
    """
)
# A journal stands at the transaction that wrote its entries; the limit counts these, and never cuts a transaction.
_JOURNALS = Sql(
    """
    WITH page AS (
        SELECT journal_id, line, account, currency, amount_minor, transaction_id
        FROM entries WHERE transaction_id > :after AND transaction_id <= :through
        ORDER BY transaction_id FETCH FIRST :limit ROWS WITH TIES
    ), found AS (
        SELECT e.journal_id, min(e.transaction_id) AS position,
               json_agg(json_build_array(e.line, e.account, e.currency, e.amount_minor, e.transaction_id)
                   ORDER BY e.line) AS entries
        FROM page e GROUP BY e.journal_id
    )
    SELECT f.position, f.journal_id,
           json_build_array(f.journal_id, j.kind, j.source, j.payment_id, j.currency, j.entry_count,
               (extract(epoch FROM j.created_at) * 1000000)::bigint, f.entries,
               CASE WHEN c.journal_id IS NOT NULL THEN json_build_array(
                   c.from_currency, c.from_minor, c.to_currency, c.to_minor, c.exchange_rate::text) END
           )::text AS record
    FROM found f LEFT JOIN journals j ON j.id = f.journal_id LEFT JOIN conversions c ON c.journal_id = f.journal_id
    ORDER BY f.position, f.journal_id
    """
)


class Audit:
    """`domain.audit.ports.AuditRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def try_lock(self) -> bool:
        """Take the right to seal until the transaction ends; return False when somebody else has it."""
        return bool((await self._connection.execute(_TRY_LOCK, {"key": AUDIT_LOCK})).scalar_one())

    async def last_seal(self) -> Seal | None:
        """Return the head of the chain."""
        row = (await self._connection.execute(_LAST_SEAL)).first()
        return _seal(row) if row else None

    async def sealed_through(self, log: Log, *, before: int | None = None) -> int:
        """Return the last position of a log that is sealed, or was before the seal of a number; 0 without any."""
        values = {"log": str(log), "before": before}
        return int((await self._connection.execute(_SEALED_THROUGH, values)).scalar_one())

    async def oldest_unsealed(self) -> datetime | None:
        """Return when the first event happened that is not sealed; None when all are."""
        found: datetime | None = (await self._connection.execute(_OLDEST_UNSEALED)).scalar()
        return found

    async def records(self, log: Log, after: int, through: int, *, limit: int) -> Sequence[Record]:
        """Return the records after one position through another in their order.

        At about `limit` it stops; never inside a position, so that all records of the last one are there.
        """
        values = {"after": after, "through": through, "limit": limit}
        if log is Log.JOURNALS:
            rows = await self._connection.execute(_JOURNALS, {**values, "limit": _ENTRIES_A_JOURNAL * limit})
            return [Record(row.position, row.journal_id.bytes, row.record) for row in rows]
        width = KEY_BYTES[Log.EVENTS]
        return [
            Record(row.position, row.position.to_bytes(width, signed=True), row.record)
            for row in await self._connection.execute(_EVENTS, values)
        ]

    async def add(self, seal: Seal) -> None:
        """Append a seal. Errors: Refused when it does not follow the head."""
        await self._connection.execute(_ADD, {name: getattr(seal, name) for name in _NAMES.split(", ")})

    async def seals(self, first: int, *, limit: int) -> Sequence[Seal]:
        """Return seals from a number on, in order."""
        rows = await self._connection.execute(_SEALS, {"first": first, "limit": limit})
        return [_seal(row) for row in rows]


def _seal(row: Row) -> Seal:
    hashes = {name: bytes(getattr(row, name)) for name in ("index", "previous_hash", "hash")}
    return Seal(**{**row._mapping, **hashes, "log": Log(row.log)})
