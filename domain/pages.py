"""Keyset pages: a list is read by the last id that was seen, so pages stay stable while rows are added."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

Row = TypeVar("Row")

MAX_LIMIT = 100


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page: at most `limit` rows that follow the row `after`, or the first ones."""

    limit: int = 20
    after: UUID | None = None


LONGEST_PAGE = PageRequest(limit=MAX_LIMIT)
"""The first page, as long as any."""


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows in the order of their list, and the id to continue after; None when these were the last."""

    rows: Sequence[Row]
    next_after: UUID | None = None
