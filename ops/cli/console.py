import os
import sys
from typing import NoReturn

from rich.console import Console
from rich.text import Text

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


def visible(text: str) -> str:
    """Return what others wrote as a terminal shows it; what it would obey, or show as another line, is spelt.

    Who gives a reason for a refund could else hide lines of an explanation, or put some of its own among them.
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def told(text: str) -> Text:
    """Return what others wrote as the cell of a table, in which brackets are brackets."""
    return Text(visible(text))
