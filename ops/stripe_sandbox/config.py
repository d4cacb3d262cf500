"""What the sandbox may be told: one frozen object, read from the environment."""

import math
import os
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import TypeVar

PREFIX = "MARKETFLOW_SANDBOX_"
Value = TypeVar("Value", str, int, float)


class SettingRefusedError(ValueError):
    """A variable has a value that makes no sense; the message names it and says why."""


def _setting(default: Value, says: str, *, least: int = 0) -> Value:
    """Return the field of a setting, with its sentence for `--help` and the least that a number may be."""
    made: Value = field(default=default, metadata={"says": says, "least": least})
    return made


@dataclass(frozen=True, slots=True)
class Config:
    """The sandbox's settings; each field is the variable `MARKETFLOW_SANDBOX_<FIELD>`."""

    webhook_url: str = _setting("", "Where events are POSTed; empty means that nothing is delivered.")
    webhook_secret: str = _setting("whsec_sandbox", "Signs the events of the platform's own account.")
    connect_webhook_secret: str = _setting(
        "", "Signs the events of connected accounts; empty means the same secret as for the platform's own."
    )
    enabled_events: str = _setting(
        "*", "Comma-separated event types, or prefixes that end in `*`, that are delivered."
    )
    state_file: str = _setting("", "The journal that survives a restart; empty keeps the state in memory alone.")
    webhook_retry_base_s: float = _setting(
        1.0, "How long a webhook waits that was not taken, before it is sent again; longer each time."
    )
    webhook_concurrency: int = _setting(192, "How many webhooks are on their way at once.", least=1)
    webhook_timeout_s: float = _setting(15.0, "How long an answer to a webhook is waited for.")
    settlement_delay_s: int = _setting(2 * 24 * 3600, "How long the funds of a charge stay pending.")
    dispute_delay_s: float = _setting(
        0.5, "How long after its charge the dispute of `pm_card_createDispute` is opened."
    )
    refund_delay_s: float = _setting(0.5, "How long a refund takes that does not succeed, or fails, only later.")
    authorization_s: int = _setting(7 * 24 * 3600, "How long an authorization can be captured.")
    payout_interval_s: int = _setting(
        24 * 3600, "How often connected accounts are paid out by themselves.", least=1
    )
    payout_arrival_s: int = _setting(24 * 3600, "How long a payout is on its way to the bank.")

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> "Config":
        """Return the settings of this process; a malformed number raises SettingRefusedError."""
        given = {each.name: environ.get(PREFIX + each.name.upper()) for each in fields(cls)}
        read = {each.name: _read(each, raw) for each in fields(cls) if (raw := given[each.name]) is not None}
        return cls(**read)  # type: ignore[arg-type]  # each value was converted to its default's type

    @property
    def journal_path(self) -> Path | None:
        """Return the journal's path, or None where the state is kept in memory alone."""
        return Path(self.state_file) if self.state_file else None

    def delivers(self, event_type: str) -> bool:
        """Tell whether events of this type are POSTed to the webhook URL."""
        if not self.webhook_url:
            return False
        patterns = [pattern.strip() for pattern in self.enabled_events.split(",")]
        return any(matches(event_type, pattern) for pattern in patterns)


def matches(event_type: str, pattern: str) -> bool:
    """Tell whether an event type equals a pattern, or lies under a prefix such as `charge.*` or `charge.`."""
    if pattern in {event_type, "*"}:
        return True
    return pattern.endswith(("*", ".")) and event_type.startswith(pattern.rstrip("*"))


def read_number(variable: str, raw: str, kind: type[int] | type[float], least: int = 0) -> int | float:
    """Return the number that a variable holds; raises SettingRefusedError."""
    what = "a whole number" if kind is int else "a number"
    try:
        number = kind(raw)
    except ValueError:
        number = math.nan
    if not least <= number < math.inf:
        raise SettingRefusedError(f"{variable} is {raw!r}; it must be {what} of at least {least}")
    return number


def _read(setting: "Field[str | int | float]", raw: str) -> str | int | float:
    if setting.type is str:
        return raw
    kind = int if setting.type is int else float
    return read_number(PREFIX + setting.name.upper(), raw, kind, setting.metadata["least"])
