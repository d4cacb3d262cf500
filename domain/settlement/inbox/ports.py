"""What reading Stripe's events needs of the database."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from domain.settlement.model import Arrival, ChargeReport, EventWindow, StripeEvent, StripeEventStatus


class StripeEventRepository(Protocol):
    """The inbox of Stripe's webhooks."""

    async def add(self, events: Sequence[StripeEvent], *, publish_at: datetime) -> Mapping[str, Arrival]:
        """Insert events that are new, the TOLD ones as processed; return, by id, what is to do about each."""
        ...

    async def lease(self, ids: Sequence[str], now: datetime, locked_until: datetime) -> Sequence[StripeEvent]:
        """Take those of the events that are due and that nobody holds; counts the attempt."""
        ...

    async def lease_newest(self, limit: int, now: datetime, locked_until: datetime) -> Sequence[StripeEvent]:
        """Take those due events that came last and that nobody has tried; counts the attempt."""
        ...

    async def finish(self, statuses: Mapping[str, StripeEventStatus], at: datetime) -> None:
        """Write what became of events, and end their leases."""
        ...

    async def finish_booked(self, reports: Mapping[str, ChargeReport], at: datetime) -> Collection[str]:
        """Mark those events as processed that are TOLD by now; return their ids.

        Those that somebody holds or has tried are left alone.
        """
        ...

    async def missing(self, ids: Sequence[str]) -> Collection[str]:
        """Return those of the ids under which nothing is stored."""
        ...

    async def again(self, window: EventWindow, *, handled_before: datetime, now: datetime, limit: int) -> int:
        """Make events that were received in that window and handled before that time due again, as if new.

        Returns how many, at most `limit`, those first that were handled first.
        """
        ...

    async def count(self, window: EventWindow, *, handled_since: datetime) -> Mapping[StripeEventStatus, int]:
        """Count the events received in that window that wait, or were handled since that time, by status."""
        ...

    async def prune(self, before: datetime, *, limit: int) -> int:
        """Delete events that were handled before that time, but none in quarantine; return how many."""
        ...
