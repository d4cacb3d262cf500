from pydantic import ValidationError


class OperatorError(Exception):
    """What the person at the terminal can answer: the command line shows the message and no traceback."""


def explain_settings(error: ValidationError) -> str:
    """Name the settings that are not valid and why, without their values: they may be secrets."""
    reasons = (f"MARKETFLOW_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
    return "A setting is not valid. " + "; ".join(reasons)
