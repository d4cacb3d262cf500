"""What Stripe's webhooks tell of sellers' accounts."""

from collections.abc import Sequence
from datetime import timedelta

from domain.clock import Clock
from domain.errors import Unavailable
from domain.settlement.inbox.stripe_events import Statuses, Told
from domain.settlement.model import SettlementPolicy, StripeEventStatus
from domain.settlement.ports import SettlementTransaction
from domain.settlement.stripe_objects import UNREADABLE, read_account
from domain.settlement.together import all_of
from domain.transactions import Begin
from domain.work import Announcer, Work

ACCOUNT_UPDATED = "account.updated"


class AccountEvents:
    """`domain.settlement.inbox.stripe_events.EventReader` of accounts.

    What an event says of an account may be old, and events of one second have no order. So none is believed: each
    makes the account due, and its worker asks Stripe how it is now.
    """

    kinds = frozenset({ACCOUNT_UPDATED})

    def __init__(
        self,
        begin: Begin[SettlementTransaction],
        announcer: Announcer,
        clock: Clock,
        policy: SettlementPolicy,
    ) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._announcer = announcer
        self._clock = clock
        self._policy = policy

    async def read(self, told: Sequence[Told]) -> Statuses:
        """Make the accounts due that events tell of, and return what became of each, by id."""
        done = await all_of(self._read_one(each) for each in told)
        return {each.event.id: status for each, status in zip(told, done, strict=True) if status is not None}

    async def _read_one(self, told: Told) -> StripeEventStatus | None:
        try:
            found = read_account(told.raw)
        except UNREADABLE:
            return StripeEventStatus.QUARANTINED
        now = self._clock.now()
        try:
            async with self._begin() as tx:
                seller_id = await tx.seller_accounts.wake(
                    found.stripe_account_id,
                    found.seller_id,
                    due_at=now,
                    publish_at=now + timedelta(seconds=self._policy.republish_after_s),
                )
                await tx.commit()
        except Unavailable:
            return None
        if seller_id is None:
            return StripeEventStatus.UNMATCHED
        self._announcer.announce(Work.ONBOARDINGS, [seller_id])
        return StripeEventStatus.PROCESSED
