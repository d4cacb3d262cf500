"""Work on several things at the same time, none of which may be left behind."""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from typing import TypeVar

Result = TypeVar("Result")


async def all_of(work: Iterable[Awaitable[Result]]) -> Sequence[Result]:
    """Return what came of each, in order, once all have ended. Errors: the first one's.

    Others go on when one fails: they may have moved money, and are to say so. They do not go on when whoever waits
    is cancelled, as at the end of a task's time: then all are cancelled, and have ended before this ends.
    """
    done = await asyncio.gather(*work, return_exceptions=True)
    results = []
    for each in done:
        if isinstance(each, BaseException):
            raise each
        results.append(each)
    return results
