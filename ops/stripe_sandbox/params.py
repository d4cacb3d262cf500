"""Typed readers of request parameters; each refuses what Stripe refuses, in Stripe's words."""

from collections.abc import Collection

from ops.stripe_sandbox.errors import invalid, missing, unknown_parameter
from ops.stripe_sandbox.forms import Params


def check_known(params: Params, known: Collection[str]) -> None:
    """Refuse the first parameter that the endpoint does not have."""
    for name in params:
        if name not in known:
            raise unknown_parameter(name)


def required(params: Params, name: str) -> str:
    """Return a string that must be there and not be empty."""
    value = params.get(name)
    if value is None:
        raise missing(name)
    if value == "":
        message = f"You passed an empty string for '{name}'. Empty values unset parameters."
        raise invalid(message, name, "parameter_invalid_empty")
    if not isinstance(value, str):
        raise invalid("Invalid string", name)
    return value


def integer(params: Params, name: str, default: int, *, least: int = 0, most: int | None = None) -> int:
    """Return a whole number within its bounds, or the default where none is given."""
    raw = params.get(name)
    if raw is None:
        return default
    if not isinstance(raw, str) or len(raw) > 18 or not raw.removeprefix("-").isdecimal() or not raw.isascii():
        raise invalid(f"Invalid integer: {raw}", name, "parameter_invalid_integer")
    value = int(raw)
    if value < least:
        raise invalid(f"This value must be greater than or equal to {least}.", name, "parameter_invalid_integer")
    if most is not None and value > most:
        message = f"This value must be less than or equal to {most} (it currently is '{value}')."
        raise invalid(message, name, "parameter_invalid_integer")
    return value


def boolean(params: Params, name: str) -> bool:
    """Return a truth value; an absent one is false."""
    raw = params.get(name, "false")
    if raw not in ("true", "false"):
        raise invalid(f"Invalid boolean: {raw}", name)
    return bool(raw == "true")


def text(params: Params, name: str) -> str | None:
    """Return a string; an absent or empty one is None."""
    raw = params.get(name)
    if raw is not None and not isinstance(raw, str):
        raise invalid("Invalid string", name)
    return raw or None


def choice(params: Params, name: str, allowed: Collection[str], default: str) -> str:
    """Return one of the allowed words."""
    raw = params.get(name, default)
    if raw not in allowed:
        words = ", ".join(allowed)
        raise invalid(f"Invalid {name}: must be one of {words}", name)
    return str(raw)


def texts(params: Params, name: str) -> list[str]:
    """Return an array of strings, in the order of their positions."""
    raw = params.get(name)
    if raw is None or raw == "":
        return []
    if not isinstance(raw, dict) or not all(isinstance(value, str) for value in raw.values()):
        raise invalid("Invalid array", name)
    return list(raw.values())


def metadata(params: Params, old: dict[str, str]) -> dict[str, str]:
    """Return the old metadata changed by the given: an empty value unsets its key, an empty whole all."""
    raw = params.get("metadata")
    if raw is None:
        return old
    if raw == "":
        return {}
    if not isinstance(raw, dict) or not all(isinstance(value, str) for value in raw.values()):
        raise invalid("Invalid object", "metadata")
    merged = {key: value for key, value in {**old, **raw}.items() if value != ""}
    _check_metadata(merged)
    return merged


def _check_metadata(values: dict[str, str]) -> None:
    if len(values) > 50:
        raise invalid("Metadata can have at most 50 keys.", "metadata")
    for key, value in values.items():
        if len(key) > 40:
            raise invalid(f"Metadata keys can be at most 40 characters: {key}", "metadata")
        if len(value) > 500:
            message = f"Metadata values must be at most 500 characters; the one of '{key}' has {len(value)}."
            raise invalid(message, f"metadata[{key}]")
