from ops.errors import BAD_VALUE, NO, OperatorError


class StackError(OperatorError):
    """The stack cannot do what was asked."""


class NoStack(StackError):
    """No stack runs in that directory. That is the answer where one asks for it."""

    exit_code = NO


class NoProgram(StackError):
    """The stack has no program of that name."""

    exit_code = BAD_VALUE


class StackRunningError(StackError):
    """Another process runs a stack in the same directory."""

    exit_code = NO
