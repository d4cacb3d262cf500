"""How logs and traces of the work on a row join the request that asked for it; `workers.following` does it."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

Row = TypeVar("Row")

Follow = Callable[[Row], AbstractContextManager[object]]
"""Enters the trace and the log context of a row's request, while the row is worked on."""

FollowStep = Callable[[Row, str], AbstractContextManager[object]]
"""The same for one step of that work, which it names."""


def follow_nobody(*_: object) -> AbstractContextManager[object]:
    """Enter nothing."""
    return nullcontext()
