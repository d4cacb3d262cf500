class StackError(Exception):
    """The stack cannot do what was asked; the message is for the person at the terminal."""


class StackRunningError(StackError):
    """Another process runs a stack in the same directory."""
