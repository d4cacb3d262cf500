from rich.console import Console

output = Console()
"""Where results go."""
errors = Console(stderr=True)
"""Where complaints go."""
