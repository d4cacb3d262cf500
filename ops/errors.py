from pydantic import ValidationError

NO = 1
"""Exit code: the command looked, and the answer is no: something was found, or stands otherwise."""
BAD_VALUE = 2
"""Exit code: an argument is wrong, or names nothing. The one that the command line ends with by itself."""
COULD_NOT_LOOK = 3
"""Exit code: nobody knows. A server is away, a setting is missing, or the command broke off."""


class OperatorError(Exception):
    """What the person at the terminal can answer: the command line shows the message and no traceback."""

    exit_code = COULD_NOT_LOOK


class Denied(OperatorError):
    """The command looked, and what it was to do or to find is not so."""

    exit_code = NO


class BadValue(OperatorError):
    """What the person wrote can never do."""

    exit_code = BAD_VALUE


def explain_settings(error: ValidationError) -> str:
    """Name the settings that are not valid and why, without their values: they may be secrets."""
    reasons = (f"MARKETFLOW_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
    return "A setting is not valid. " + "; ".join(reasons)
