import os
import sys
from typing import NoReturn

from rich.console import Console

from ops.errors import COULD_NOT_LOOK

_FILE_WIDTH = 132
"""A file or a pipe has no width; wide enough that no id is cut."""


class _Output(Console):
    def on_broken_pipe(self) -> NoReturn:
        """End because nobody reads on. By itself rich ends with 1: a verdict, which nobody was told."""
        self.quiet = True
        # What is buffered yet is not written once more when the process ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(COULD_NOT_LOOK)


output = _Output(width=None if sys.stdout.isatty() else _FILE_WIDTH)
"""Where results go."""
errors = Console(stderr=True)
"""Where complaints go."""
