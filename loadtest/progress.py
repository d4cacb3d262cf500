"""How work that takes long tells of itself in a log, where nothing can be written over."""

import math
import time
from collections.abc import Callable

from rich.console import Console

from loadtest.figures import Tell

_LINE_EVERY_S = 10.0
"""How often a log is told how work gets on."""


def in_lines(name: str, console: Console) -> tuple[Tell, Callable[[], None]]:
    """Return what tells of work by a line now and then, and what tells of its end."""
    started = time.monotonic()
    last = -math.inf

    def tell(text: str) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= _LINE_EVERY_S:
            last = now
            console.print(f"{name}: {text}", highlight=False)

    return tell, lambda: console.print(f"{name}: {time.monotonic() - started:.0f} s", highlight=False)
