from ops.errors import OperatorError


class StackError(OperatorError):
    """The stack cannot do what was asked."""


class StackRunningError(StackError):
    """Another process runs a stack in the same directory."""
