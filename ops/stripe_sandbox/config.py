"""What the sandbox may be told: one frozen object, read from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

PREFIX = "MARKETFLOW_SANDBOX_"


@dataclass(frozen=True, slots=True)
class Config:
    """The sandbox's settings; each field is the variable `MARKETFLOW_SANDBOX_<FIELD>`."""

    webhook_url: str = ""
    """Where events are POSTed; empty means that nothing is delivered."""
    webhook_secret: str = "whsec_sandbox"  # noqa: S105 - a published default that guards test data only
    connect_webhook_secret: str = ""
    """Signs the events of connected accounts; empty means the same secret as for the platform's own."""
    enabled_events: str = "*"
    """Comma-separated event types, or prefixes that end in `*`, that are delivered."""
    state_file: str = ""
    """The journal that survives a restart; empty keeps the state in memory alone."""
    webhook_retry_base_s: float = 1.0
    webhook_concurrency: int = 192
    webhook_timeout_s: float = 15.0
    settlement_delay_s: int = 2 * 24 * 3600
    """How long the funds of a charge stay pending."""
    dispute_delay_s: float = 0.5
    """How long after its charge the dispute of `pm_card_createDispute` is opened."""
    refund_delay_s: float = 0.5
    """How long a refund takes that does not succeed, or fails, only later."""
    authorization_s: int = 7 * 24 * 3600
    """How long an authorization can be captured."""
    payout_interval_s: int = 24 * 3600
    """How often connected accounts are paid out by themselves."""
    payout_arrival_s: int = 24 * 3600
    """How long a payout is on its way to the bank."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> "Config":
        """Return the settings of this process; a malformed number raises ValueError."""
        given: dict[str, str | int | float] = {}
        for field in fields(cls):
            raw = environ.get(PREFIX + field.name.upper())
            if raw is not None:
                given[field.name] = field.type(raw) if callable(field.type) else raw
        return cls(**given)  # type: ignore[arg-type]  # each value was converted to its default's type

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
