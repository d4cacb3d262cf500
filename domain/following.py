"""How the work on a row is joined, in logs and traces, with the request that asked for it. The edges know how."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

Row = TypeVar("Row")

Follow = Callable[[Row], AbstractContextManager[object]]
"""Enters what a row's request began, while the row is worked at."""


def follow_nobody(_: object) -> AbstractContextManager[object]:
    """Enter nothing."""
    return nullcontext()
