"""What all request and answer models share: strict, closed, bounded."""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Generic, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.webhooks.examples import EVENT
from domain.errors import Invalid
from domain.money import CURRENCY_DECIMALS
from domain.pages import MAX_LIMIT, Page, PageRequest

_UUID_BYTES = 16


def _without_nul(value: str) -> str:
    if "\x00" in value:
        raise ValueError("must not contain NUL")
    return value


Text = Annotated[str, AfterValidator(_without_nul)]
"""Text as PostgreSQL can hold it; lone surrogates do not get past the JSON parser."""

Currency = Annotated[str, Field(pattern="^[A-Z]{3}$", examples=sorted(CURRENCY_DECIMALS)[-1:])]
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
    cursor: Text | None = Field(default=None, max_length=64, description="`next_cursor` of the page before")

    def request(self) -> PageRequest:
        """Return the page that is asked for. Errors: Invalid `cursor_invalid`."""
        return PageRequest(limit=self.limit, after=read_cursor(self.cursor))


class EmptyQuery(QueryModel):
    """No parameters."""


Item = TypeVar("Item", bound=BaseModel)
Row = TypeVar("Row")


class PageAnswer(AnswerModel, Generic[Item]):
    """A page of a list, newest first; `next_cursor` is null on the last one."""

    data: Sequence[Item]
    next_cursor: str | None

    @classmethod
    def of(cls, page: Page[Row], view: Callable[[Row], Item]) -> "PageAnswer[Item]":
        """Render each row of a page."""
        return cls(data=[view(row) for row in page.rows], next_cursor=write_cursor(page.next_after))


class ListAnswer(AnswerModel, Generic[Item]):
    """A whole list."""

    data: Sequence[Item]


class Problem(AnswerModel):
    """An error (RFC 9457); `code` is stable."""

    type: str
    title: str
    status: int
    code: str
    detail: str


class EventAnswer(AnswerModel):
    """Something that happened."""

    model_config = ConfigDict(json_schema_extra={"examples": [dict(EVENT)]})

    id: UUID
    type: str
    subject_id: UUID
    data: dict[str, object]
    created_at: datetime


def write_cursor(after: UUID | None) -> str | None:
    """Return an opaque cursor."""
    return base64.urlsafe_b64encode(after.bytes).decode().rstrip("=") if after else None


def read_cursor(cursor: str | None) -> UUID | None:
    """Return the id in a cursor. Errors: Invalid `cursor_invalid`."""
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor + "==", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != _UUID_BYTES:
        raise Invalid("the cursor is not one of ours", code="cursor_invalid")
    return UUID(bytes=raw)
