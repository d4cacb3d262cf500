"""`/v1/sellers/me/statement`: what moved on a seller's account, line by line, as JSON or CSV."""

import csv
import io
import struct
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from falcon.asgi import Request, Response
from pydantic import ConfigDict, Field

from api.cursors import decode_cursor, encode_cursor, not_ours, read_snapshot, write_snapshot
from api.operations import operation
from api.rendering import render
from api.schemas import AnswerModel, PageQuery, SettledCurrency, Text, Time
from domain.ids import JournalId, UserId
from domain.ledger.model import JournalKind
from domain.sellers.statements import Bookmark, Statement, StatementLine, StatementQuery, StatementService

CSV = "text/csv"
_JSON = "application/json"
_COLUMNS = ("at", "kind", "source", "payment_id", "journal_id", "currency", "amount_minor", "balance_minor")
_ROWS_AT_ONCE = 200
# What spreadsheets take for the start of a formula (owasp.org/www-community/attacks/CSV_Injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
# A bookmark: a journal's id, a snapshot's xmin, and how far behind that its xmax and what was under way are.
_PLACE = struct.Struct("!16sQI")
_DISTANCE = struct.Struct("!I")
_MAX_CURSOR = 4_096
"""Enough for 700 transactions under way."""
_CURSOR_PATTERN = "^[A-Za-z0-9_-]{38,}$"


class StatementRequest(PageQuery):
    """Which statement, and which part of it; CSV is always whole."""

    start: Annotated[Time | None, Field(alias="from", description="RFC 3339; without it, all before")] = None
    end: Annotated[Time | None, Field(alias="to", description="RFC 3339, not included; now by default")] = None
    currency: Annotated[SettledCurrency | None, Field(description="needed where there are several")] = None
    seller_id: Annotated[UUID | None, Field(description="for finance: whose")] = None
    cursor: (
        Annotated[Text, Field(max_length=_MAX_CURSOR, json_schema_extra={"pattern": _CURSOR_PATTERN})] | None
    ) = Field(default=None, description="`next_cursor` of the part before; all parts show the first one's moment")

    def query(self) -> StatementQuery:
        """Return what is asked for."""
        seller_id = UserId(self.seller_id) if self.seller_id is not None else None
        return StatementQuery(self.start, self.end, self.currency, seller_id)


class StatementLineAnswer(AnswerModel):
    """A movement, and what the balance was after it; above zero is owed to the seller."""

    journal_id: UUID
    kind: JournalKind
    source: Annotated[str, Field(description="what caused it, here or at Stripe")]
    payment_id: UUID | None
    created_at: datetime
    amount_minor: int
    balance_minor: int


class SellerStatementAnswer(AnswerModel):
    """A part of a statement: `opening_minor`, and each line after it, make `closing_minor`.

    Each part begins with the balance with which the one before ends; `next_cursor` is null on the last one.
    """

    model_config = ConfigDict(
        frozen=True,
        serialize_by_alias=True,
        json_schema_extra={
            "examples": [
                {
                    "seller_id": "01935b8e-7c00-7000-8000-2f1f9a3c5e11",
                    "currency": "USD",
                    "from": "2026-11-01T00:00:00Z",
                    "to": "2026-12-01T00:00:00Z",
                    "opening_minor": 500,
                    "lines": [
                        {
                            "journal_id": "01935b8e-7c00-7000-8000-2f1f9a3c5e12",
                            "kind": "charge",
                            "source": "ch_3PTxQ2",
                            "payment_id": "01935b8e-7c00-7000-8000-2f1f9a3c5e13",
                            "created_at": "2026-11-27T10:05:00Z",
                            "amount_minor": 1949,
                            "balance_minor": 2449,
                        }
                    ],
                    "closing_minor": 2449,
                    "next_cursor": None,
                }
            ]
        },
    )

    seller_id: UUID
    currency: str
    start: Annotated[datetime | None, Field(serialization_alias="from")]
    end: Annotated[datetime, Field(serialization_alias="to")]
    opening_minor: int
    lines: Sequence[StatementLineAnswer]
    closing_minor: int
    next_cursor: str | None

    @classmethod
    def of(cls, part: Statement, asked: StatementQuery) -> "SellerStatementAnswer":
        """Render a part of a statement."""
        return cls(
            seller_id=part.period.seller_id,
            currency=part.period.currency,
            start=asked.start,
            end=part.period.end,
            opening_minor=part.opening_minor,
            lines=[StatementLineAnswer.model_validate(line, from_attributes=True) for line in part.lines],
            closing_minor=part.closing_minor,
            next_cursor=_write_bookmark(part.next_part) if part.next_part else None,
        )


class Statements:
    """The statements."""

    def __init__(self, statements: StatementService) -> None:
        """Keep the service."""
        self._statements = statements

    @operation(
        "Get what moved on a seller's account, line by line",
        "sellers",
        SellerStatementAnswer,
        query=StatementRequest,
        also=(CSV,),
    )
    async def on_get(self, req: Request, resp: Response) -> None:
        """Get a part of a statement as JSON, or all of it as CSV."""
        asked: StatementRequest = req.context.query
        query, principal = asked.query(), req.context.principal
        if req.client_prefers((_JSON, CSV)) == CSV:
            statement, lines = await self._statements.whole(principal, query)
            resp.content_type = f"{CSV}; charset=utf-8; header=present"
            resp.set_header("Content-Disposition", 'attachment; filename="statement.csv"')
            resp.stream = _write_csv(statement, lines, since=query.start)
            return
        bookmark = _read_bookmark(asked.cursor) if asked.cursor is not None else None
        part = await self._statements.part(principal, query, bookmark=bookmark, limit=asked.limit)
        render(resp, SellerStatementAnswer.of(part, query))


def _write_bookmark(bookmark: Bookmark) -> str:
    xmin, xmax, under_way = read_snapshot(bookmark.snapshot)
    place = _PLACE.pack(bookmark.after.bytes, xmin, xmax - xmin)
    return encode_cursor(place + b"".join(_DISTANCE.pack(number - xmin) for number in under_way))


def _read_bookmark(cursor: str) -> Bookmark:
    """Return the bookmark in a cursor. Errors: Invalid `cursor_invalid`."""
    raw = decode_cursor(cursor)
    try:
        journal_id, xmin, length = _PLACE.unpack_from(raw)
        under_way = [xmin + distance for (distance,) in _DISTANCE.iter_unpack(raw[_PLACE.size :])]
    except struct.error:
        raise not_ours() from None
    return Bookmark(JournalId(UUID(bytes=journal_id)), write_snapshot(xmin, xmin + length, under_way))


async def _write_csv(
    statement: Statement, lines: AsyncIterator[StatementLine], *, since: datetime | None
) -> AsyncIterator[bytes]:
    """Write a whole statement (RFC 4180) as its lines come: names, opening balance, lines, closing balance."""
    out = io.StringIO(newline="")
    rows = csv.writer(out)
    period, balance_minor, written = statement.period, statement.opening_minor, 0
    rows.writerow(_COLUMNS)
    opened_at = _write_time(since) if since is not None else ""
    rows.writerow([opened_at, "opening_balance", "", "", "", period.currency, "", balance_minor])
    async for line in lines:
        balance_minor = line.balance_minor
        rows.writerow(_row(line, period.currency))
        written += 1
        if written % _ROWS_AT_ONCE == 0:
            yield _take(out)
    rows.writerow([_write_time(period.end), "closing_balance", "", "", "", period.currency, "", balance_minor])
    yield _take(out)


def _row(line: StatementLine, currency: str) -> list[object]:
    names = (str(line.kind), line.source, str(line.payment_id or ""), str(line.journal_id), currency)
    return [_write_time(line.created_at), *map(guarded, names), line.amount_minor, line.balance_minor]


def guarded(cell: str) -> str:
    """Return text that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _write_time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _take(out: io.StringIO) -> bytes:
    chunk = out.getvalue().encode()
    out.seek(0)
    out.truncate()
    return chunk
