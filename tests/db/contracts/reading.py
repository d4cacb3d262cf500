"""What the contracts' tests share."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from domain.pages import Page, PageRequest
from tests.builders import NOW

LATER = NOW + timedelta(seconds=60)


async def read_all(read: Callable[[PageRequest], Any], limit: int) -> list[Any]:
    """Read a list page by page to its end."""
    rows: list[Any] = []
    request = PageRequest(limit)
    # Other tests leave rows behind, some of them thousands.
    for _ in range(20_000):
        page: Page[Any] = await read(request)
        rows += page.rows
        if page.next_after is None:
            return rows
        assert len(page.rows) == limit
        request = PageRequest(limit, page.next_after)
    raise AssertionError("the list does not end")
