"""The rows that wait for a worker: the kinds there are, and who tells the workers of them."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol
from uuid import UUID


class Work(StrEnum):
    """The kinds of rows that wait for a worker; the value names the queue."""

    CHARGES = "charges"
    STRIPE_EVENTS = "stripe_events"
    REFUNDS = "refunds"
    ONBOARDINGS = "onboardings"
    PAYOUTS = "payouts"
    REVERSALS = "reversals"
    DELIVERIES = "deliveries"
    """Announced by the ids of the endpoints that they go to."""


class Announcer(Protocol):
    """Tells the workers which rows to look at. Best effort: the sweeper announces again what got lost."""

    def announce(self, work: Work, ids: Sequence[UUID | str]) -> None:
        """Hand over ids to be published soon; neither waits nor fails."""
        ...
