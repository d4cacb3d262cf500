"""What is refused is written down: pytest shows it where a test fails, and the failure explains itself."""

import logging
from collections.abc import Awaitable, Callable

import httpx

_LONGEST = 600
log = logging.getLogger(__name__)


def noting(least: int = 400) -> dict[str, list[Callable[[httpx.Response], Awaitable[None]]]]:
    """Return the event hooks of a client that notes answers from that status on, each with its problem."""

    async def note(answer: httpx.Response) -> None:
        if answer.status_code >= least:
            await answer.aread()
            request = answer.request
            log.warning("%s %s: %s %s", request.method, request.url, answer.status_code, answer.text[:_LONGEST])

    return {"response": [note]}
