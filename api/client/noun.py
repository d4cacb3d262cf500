"""What all nouns share: how one asks, and how one reads a list."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

import httpx

from .sending import Request


class Sends(Protocol):
    """What the nouns need of a client."""

    async def send(self, request: Request) -> httpx.Response:
        """Return a success, or 304. Errors: Refused, Unanswered."""
        ...


class Noun:
    """Things of one kind, as the API names them."""

    def __init__(self, client: Sends) -> None:
        """Keep the client."""
        self._client = client

    async def _ask(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        answer = await self._client.send(Request(method, path, body, **options))
        return answer.json() if answer.content else None

    async def _pages(self, path: str, query: Mapping[str, Any]) -> AsyncIterator[Any]:
        """Yield the rows of a list, page after page; what is None does not narrow it."""
        cursor: str | None = None
        while True:
            page = await self._ask("GET", path, query=given(**{**query, "cursor": cursor}))
            for row in page["data"]:
                yield row
            cursor = page["next_cursor"]
            if cursor is None:
                return


def given(**fields: Any) -> dict[str, Any]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}
