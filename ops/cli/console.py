import sys

from rich.console import Console

_FILE_WIDTH = 132
"""A file or a pipe has no width; wide enough that no id is cut."""

output = Console(width=None if sys.stdout.isatty() else _FILE_WIDTH)
"""Where results go."""
errors = Console(stderr=True)
"""Where complaints go."""
