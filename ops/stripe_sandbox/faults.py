"""Faults that a test can order: which calls or webhooks they hit, how often, and what they do."""

import random
from dataclasses import dataclass, field
from typing import Any

from ops.stripe_sandbox.config import matches

API_EFFECTS = ("drop_before", "drop_after", "error_500", "error_500_after", "error_429", "delay_ms")
WEBHOOK_EFFECTS = ("webhook_duplicate", "webhook_drop", "webhook_reorder", "webhook_delay_ms")
LATE_EFFECT = "late_balance_transaction"
_DEFAULT_ARGUMENTS = {LATE_EFFECT: 1000}
_NEEDS_ARGUMENT = ("delay_ms", "webhook_delay_ms")
_LONGEST_MS = 24 * 3600 * 1000


class FaultRefusedError(ValueError):
    """The description of a fault makes no sense; the message says why."""


@dataclass(slots=True)
class Fault:
    """One ordered fault; `remaining` counts down, None is without end."""

    match: str
    effect: str
    argument_ms: int
    rate: float
    remaining: int | None
    seed: int
    hits: int = 0
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - faults must be repeatable, not secret

    def strikes(self) -> bool:
        """Draw whether this fault hits now, and count it if so."""
        if self.remaining == 0 or (self.rate < 1 and self._random.random() >= self.rate):
            return False
        if self.remaining is not None:
            self.remaining -= 1
        self.hits += 1
        return True

    def described(self) -> dict[str, Any]:
        """Return the fault as the control API shows it."""
        effect = f"{self.effect}:{self.argument_ms}" if self.argument_ms else self.effect
        return {
            "match": self.match,
            "effect": effect,
            "rate": self.rate,
            "count": self.remaining,
            "seed": self.seed,
            "hits": self.hits,
        }


class Faults:
    """All faults in force, in the order in which they were ordered."""

    def __init__(self) -> None:
        self.active: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Put a fault in force."""
        self.active.append(fault)

    def clear(self) -> None:
        """End all faults."""
        self.active.clear()

    def draw_call(self, effect: str, method: str, path: str) -> Fault | None:
        """Return the first fault with this effect that hits an API call now."""
        for fault in self.active:
            if fault.effect == effect and _matches_call(fault.match, method, path) and fault.strikes():
                return fault
        return None

    def draw_webhook(self, effect: str, event_type: str, method: str = "", path: str = "") -> Fault | None:
        """Return the first fault with this effect that hits an event's delivery now.

        `method` and `path` are those of the API call that caused the event, if one did.
        """
        for fault in self.active:
            if fault.effect != effect:
                continue
            is_meant = matches(event_type, fault.match) or (path and _matches_call(fault.match, method, path))
            if is_meant and fault.strikes():
                return fault
        return None


def parse_fault(body: Any) -> Fault:
    """Return the fault that a control call describes; raises FaultRefusedError."""
    if not isinstance(body, dict):
        raise FaultRefusedError("a fault is an object")
    unknown = body.keys() - {"match", "effect", "rate", "count", "seed"}
    if unknown:
        raise FaultRefusedError(f"unknown fields: {', '.join(sorted(unknown))}")
    effect, argument_ms = _parse_effect(body.get("effect"))
    return Fault(
        match=_parse_match(body.get("match"), effect),
        effect=effect,
        argument_ms=argument_ms,
        rate=_parse_rate(body.get("rate", 1)),
        remaining=_parse_whole(body, "count"),
        seed=_parse_whole(body, "seed") or 0,
    )


def _parse_effect(raw: Any) -> tuple[str, int]:
    known = (*API_EFFECTS, *WEBHOOK_EFFECTS, LATE_EFFECT)
    effect, colon, argument = raw.partition(":") if isinstance(raw, str) else ("", "", "")
    if effect not in known:
        raise FaultRefusedError(f"effect must be one of {', '.join(known)}")
    if not colon:
        if effect in _NEEDS_ARGUMENT:
            raise FaultRefusedError(f"{effect} needs milliseconds, as in {effect}:250")
        return effect, _DEFAULT_ARGUMENTS.get(effect, 0)
    takes_argument = effect in _NEEDS_ARGUMENT or effect in _DEFAULT_ARGUMENTS
    if not takes_argument or not (argument.isascii() and argument.isdecimal() and int(argument) <= _LONGEST_MS):
        raise FaultRefusedError(f"{raw!r} is not an effect with milliseconds")
    return effect, int(argument)


def _parse_match(raw: Any, effect: str) -> str:
    if not isinstance(raw, str) or not raw:
        raise FaultRefusedError("match must be 'METHOD /path', or for webhook effects an event type")
    is_type = effect in WEBHOOK_EFFECTS and not set(raw) & {" ", "/"}
    if raw != "*" and not is_type:
        method, _, path = raw.partition(" ")
        if method not in ("*", "GET", "POST", "DELETE") or not path.startswith("/"):
            raise FaultRefusedError("match must be 'METHOD /path-prefix', such as 'POST /v1/payment_intents'")
    return raw


def _parse_rate(raw: Any) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not 0 <= raw <= 1:
        raise FaultRefusedError("rate must be a number from 0 to 1")
    return float(raw)


def _parse_whole(body: dict[str, Any], name: str) -> int | None:
    raw = body.get(name)
    if raw is None:
        return None
    if isinstance(raw, bool) or not isinstance(raw, int) or raw < 0:
        raise FaultRefusedError(f"{name} must be a whole number of at least 0")
    return raw


def _matches_call(match: str, method: str, path: str) -> bool:
    if match == "*":
        return True
    wanted, _, prefix = match.partition(" ")
    return wanted in ("*", method) and path.startswith(prefix)
