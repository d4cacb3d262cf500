"""Keyset pages: one row more than asked for tells whether another page follows."""

from collections.abc import Sequence
from typing import Protocol, TypeVar
from uuid import UUID

from domain.pages import Page, PageRequest


class Identified(Protocol):
    """A row with an id that orders it."""

    @property
    def id(self) -> UUID:
        """The id."""
        ...


Row = TypeVar("Row", bound=Identified)


def cut(rows: Sequence[Row], request: PageRequest) -> Page[Row]:
    """Return the page that `limit + 1` fetched rows make."""
    page = rows[: request.limit]
    return Page(rows=page, next_after=page[-1].id if len(rows) > request.limit else None)
