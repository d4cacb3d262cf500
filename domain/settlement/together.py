"""Doing several things at once and waiting for all of them, even if one fails."""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from typing import TypeVar

Result = TypeVar("Result")


async def all_of(work: Iterable[Awaitable[Result]]) -> Sequence[Result]:
    """Return the result of each, in order, once all have ended. Errors: the first one in that order.

    When one fails the others go on: they may have moved money, and must say so. When the caller is cancelled, as
    at the end of a task's time, all are cancelled, and have ended before this returns.
    """
    done = await asyncio.gather(*work, return_exceptions=True)
    error = next((each for each in done if isinstance(each, BaseException)), None)
    if error is None:
        return [each for each in done if not isinstance(each, BaseException)]
    try:
        raise error
    finally:
        del done, error  # PERF: what is raised would hold them in turn, until a search for cycles
