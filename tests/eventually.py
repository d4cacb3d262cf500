"""The one way in which tests wait: for a condition, with a deadline."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

Value = TypeVar("Value")

DEADLINE_S = 120.0
_PAUSE_S = 0.02


async def eventually(check: Callable[[], Awaitable[Value] | Value], deadline_s: float = DEADLINE_S) -> Value:
    """Repeat a check, plain or async, until its value is true and nothing in it fails; return the value."""
    end = time.monotonic() + deadline_s
    while True:
        try:
            found = check()
            value: Value = await found if inspect.isawaitable(found) else found
            assert value, "the condition did not come true"
        except AssertionError:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(_PAUSE_S)
        else:
            return value
