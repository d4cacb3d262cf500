"""Stripe's webhooks, processed: each kind of event has a reader, and all readers end in the same settlement."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from domain.clock import Clock
from domain.settlement.model import SettlementPolicy, StripeEvent, StripeEventStatus
from domain.settlement.ports import SettlementTransaction
from domain.settlement.stripe_objects import UNREADABLE, JsonObject, read_event_account, read_event_object
from domain.settlement.together import all_of
from domain.transactions import Begin

_OF_ACCOUNTS = ("account.", "payout.")
"""The kinds of events that connected accounts may tell of themselves."""
_LATE = timedelta(seconds=5)
"""An event that waited for so long waited behind others."""
_NEWEST = 64
"""How many of the newest events are taken beside each batch of a backlog."""

Statuses = Mapping[str, StripeEventStatus]


@dataclass(frozen=True, slots=True)
class Told:
    """An event and the object that it tells of."""

    event: StripeEvent
    raw: JsonObject


class EventReader(Protocol):
    """Settles what some kinds of events report."""

    @property
    def kinds(self) -> Collection[str]:
        """The types of events that it reads."""
        ...

    async def read(self, told: Sequence[Told]) -> Statuses:
        """Settle what events report, and return what became of each, by id.

        Whatever it leaves out is read again when its lease ends: Stripe was asked and did not answer. An event
        may come twice, late and out of order. Errors: Unavailable, and then all come again.
        """
        ...


class StripeEventService:
    """The work of the queue `stripe_events`."""

    def __init__(
        self,
        begin: Begin[SettlementTransaction],
        readers: Sequence[EventReader],
        clock: Clock,
        policy: SettlementPolicy,
    ) -> None:
        """Keep the collaborators; each kind of event has one reader at most."""
        self._begin = begin
        self._readers = {kind: reader for reader in readers for kind in reader.kinds}
        self._clock = clock
        self._policy = policy

    async def process(self, event_ids: Sequence[str]) -> int:
        """Settle what stored events report; return how many were leased.

        Beside events that are late, the newest ones are taken as well, wherever their message waits: so a backlog
        drains while new events are served, and neither waits for the end of the other.

        Safe to repeat: an event whose processing was cut off is processed again, and its settlement is no
        news then.
        """
        leased = await self._lease(event_ids)
        if not leased:
            return 0
        told, statuses = self._sort_out(leased)
        done = await all_of(reader.read(each) for reader, each in told.items())
        for read in done:
            statuses.update(read)
        async with self._begin() as tx:
            await tx.stripe_events.finish(statuses, self._clock.now())
            await tx.commit()
        return len(leased)

    async def _lease(self, event_ids: Sequence[str]) -> Sequence[StripeEvent]:
        now = self._clock.now()
        locked_until = now + timedelta(seconds=self._policy.lease_s)
        async with self._begin() as tx:
            leased = await tx.stripe_events.lease(sorted(event_ids), now, locked_until)
            if any(now - event.received_at > _LATE for event in leased):
                leased = [*leased, *await tx.stripe_events.lease_newest(_NEWEST, now, locked_until)]
            await tx.commit()
        return leased

    def _sort_out(
        self, events: Sequence[StripeEvent]
    ) -> tuple[dict[EventReader, list[Told]], dict[str, StripeEventStatus]]:
        """Give each event to its reader; set aside what nobody reads and what nobody can read."""
        told: dict[EventReader, list[Told]] = {}
        statuses: dict[str, StripeEventStatus] = {}
        for event in events:
            reader = self._readers.get(event.type)
            if reader is None:
                statuses[event.id] = StripeEventStatus.IGNORED
                continue
            try:
                raw = read_event_object(event.body)
                if _is_of_another(event):
                    statuses[event.id] = StripeEventStatus.IGNORED
                else:
                    told.setdefault(reader, []).append(Told(event, raw))
            except UNREADABLE:
                statuses[event.id] = StripeEventStatus.QUARANTINED
        return told, statuses


def _is_of_another(event: StripeEvent) -> bool:
    """Tell whether an event is a connected account's own affair.

    Its bank payouts and its onboarding concern us; of its own payments, refunds and transfers it could say that
    they pay for orders of ours.
    """
    if event.type.startswith(_OF_ACCOUNTS) or '"account"' not in event.body:
        return False
    return read_event_account(event.body) is not None
