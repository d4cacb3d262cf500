"""What all request and answer models share: strict, closed, bounded."""

import re
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from api.cursors import decode_cursor, encode_cursor, not_ours
from api.webhooks.examples import EVENT
from domain.events import Event
from domain.money import CURRENCY_DECIMALS, SETTLED_CURRENCIES
from domain.pages import MAX_LIMIT, Page, PageRequest

_UUID_BYTES = 16
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]")
_LOST_PLUS = re.compile(r":\d{2}(\.\d+)? \d{2}:?\d{2}$")
_FIRST_YEAR, _LAST_YEAR = 1971, 9000
# 16 bytes in base64, of whose last character two bits count.
_CURSOR_PATTERN = "^[A-Za-z0-9_-]{21}[AQgw]$"


def _without_nul(value: str) -> str:
    if "\x00" in value:
        raise ValueError("must not contain NUL")
    return value


def _not_a_number(value: object) -> object:
    """Refuse the seconds since 1970 for which pydantic takes a number, in a parameter or in a text."""
    if not isinstance(value, str) or _DATE.match(value) is None:
        raise ValueError("must be a time of RFC 3339, like 2026-11-25T09:00:00Z")
    if _LOST_PLUS.search(value):
        raise ValueError("the + of an offset is written %2B in a parameter, where + is a space")
    return value


def _in_utc(at: datetime) -> datetime:
    """Return the time as answers tell it; refuse one that cannot be told in every time zone, or a little later."""
    if not _FIRST_YEAR <= at.year <= _LAST_YEAR:
        raise ValueError(f"a year from {_FIRST_YEAR} to {_LAST_YEAR}")
    return at.astimezone(UTC)


WithoutNul = AfterValidator(_without_nul)
Text = Annotated[str, WithoutNul]
"""Text as PostgreSQL can hold it; lone surrogates do not get past the JSON parser.

NOTE: a `pattern` must stand before the validator: behind it, pydantic leaves it out of the document.
"""
Time = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_not_a_number), AfterValidator(_in_utc)]
"""A time that is given with its offset; only a text is one, so it needs no strictness beside that."""


def _one_of(currencies: Collection[str]) -> Any:
    """Describe a currency. Which there are, the domain says; the document tells it."""
    return Field(
        pattern="^[A-Z]{3}$",
        examples=sorted(CURRENCY_DECIMALS)[-1:],
        json_schema_extra={"enum": [*sorted(currencies)]},
    )


Currency = Annotated[str, _one_of(CURRENCY_DECIMALS)]
SettledCurrency = Annotated[str, _one_of(SETTLED_CURRENCIES)]
"""Of what is owed or booked: Stripe may settle in others than are traded."""
AmountMinor = Annotated[int, Field(ge=1, le=2**53, description="in minor units of the currency", examples=[1999])]

Quantity = Annotated[int, Field(ge=1, le=1_000_000, description="pieces", examples=[2])]


class RequestModel(BaseModel):
    """A JSON body: exact types, no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class QueryModel(BaseModel):
    """Query parameters: text is read as the field's type; no unknown parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AnswerModel(BaseModel):
    """An answer; times are RFC 3339 in UTC."""

    model_config = ConfigDict(frozen=True)


class PageQuery(QueryModel):
    """Which page of a list."""

    limit: int = Field(default=20, ge=1, le=MAX_LIMIT)
    cursor: Annotated[Text, Field(max_length=64, json_schema_extra={"pattern": _CURSOR_PATTERN})] | None = Field(
        default=None, description="`next_cursor` of the page before"
    )

    def request(self) -> PageRequest:
        """Return the page that is asked for. Errors: Invalid `cursor_invalid`."""
        return PageRequest(limit=self.limit, after=read_cursor(self.cursor))


class EmptyQuery(QueryModel):
    """No parameters."""


Item = TypeVar("Item", bound=BaseModel)
Row = TypeVar("Row")


class PageAnswer(AnswerModel, Generic[Item]):
    """A page of a list; `next_cursor` is null on the last one."""

    data: Sequence[Item]
    next_cursor: str | None

    @classmethod
    def of(cls, page: Page[Row], view: Callable[[Row], Item]) -> "PageAnswer[Item]":
        """Render each row of a page."""
        return cls(data=[view(row) for row in page.rows], next_cursor=write_cursor(page.next_after))


class ListAnswer(AnswerModel, Generic[Item]):
    """A whole list."""

    data: Sequence[Item]


class FieldProblem(AnswerModel):
    """What is wrong with a field."""

    field: str
    message: str


class Problem(AnswerModel):
    """An error (RFC 9457); `code` is stable. Further members tell the facts of it, such as `retry_after_s`."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: Annotated[Sequence[FieldProblem], Field(description="with `fields_invalid`")] = ()


class EventAnswer(AnswerModel):
    """Something that happened."""

    model_config = ConfigDict(json_schema_extra={"examples": [dict(EVENT)]})

    id: UUID
    type: str
    subject_id: UUID
    data: dict[str, object]
    created_at: datetime

    @classmethod
    def of(cls, event: Event) -> "EventAnswer":
        """Render an event."""
        return cls.model_validate(event, from_attributes=True)


def write_cursor(after: UUID | None) -> str | None:
    """Return an opaque cursor."""
    return encode_cursor(after.bytes) if after else None


def read_cursor(cursor: str | None) -> UUID | None:
    """Return the id in a cursor. Errors: Invalid `cursor_invalid`."""
    if cursor is None:
        return None
    raw = decode_cursor(cursor)
    if len(raw) != _UUID_BYTES:
        raise not_ours()
    return UUID(bytes=raw)
