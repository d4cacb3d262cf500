"""What payouts need from outside."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from domain.events import EventLog
from domain.identity.model import Principal
from domain.ids import PayoutId, UserId
from domain.pages import Page, PageRequest
from domain.payouts.model import Destination, Payout, Release, RunLease, SellerBalance
from domain.transactions import Transaction


class Destinations(Protocol):
    """The sellers' accounts at Stripe, as payouts see them."""

    async def of_seller(self, seller_id: UserId) -> Destination | None:
        """Return a seller's account, if it has one."""
        ...

    async def enabled(self, *, after: UserId | None, limit: int) -> Sequence[Destination]:
        """Return accounts whose payouts are enabled, by seller, those that follow the seller `after`.

        Those of suspended sellers are left out.
        """
        ...


class PayoutRepository(Protocol):
    """The payouts, with the ledger's entries that each takes."""

    async def claim_seller(self, seller_id: UserId) -> None:
        """Lock a seller's payouts until the transaction ends. Errors: Unavailable where another has them long."""
        ...

    async def available(self, seller_id: UserId, release: Release) -> dict[str, int]:
        """Return per currency the sum of what is released and not paid out, below zero where the seller owes."""
        ...

    async def draft(
        self, payout: Payout, release: Release, *, least_minor: int, publish_at: datetime
    ) -> Payout | None:
        """Insert a payout of all entries that are released in its currency, due at once; return it with its sum.

        None where they do not come to `least_minor`. At most 50,000 entries are taken, the oldest ones. Claim the
        seller first.
        """
        ...

    async def net(self, seller_id: UserId, release: Release) -> bool:
        """Close what is released of a payment in a currency and comes to nothing by itself; False if not yet all.

        So it is with what was exchanged, in the currency of the charge, and nothing else would ever take it. Claim
        the seller first.
        """
        ...

    async def raise_floor(self, seller_id: UserId, now: datetime) -> None:
        """Remember up to where all entries of a seller are taken for good, so that nobody reads them again.

        What payouts under way take may still be let go.
        """
        ...

    async def by_key(self, requested_by: UserId, idempotency_key: str) -> Payout | None:
        """Return the payout that a caller asked for under a key."""
        ...

    async def visible(self, principal: Principal, payout_id: PayoutId) -> Payout | None:
        """Return a payout if it is the caller's, or the caller may see all."""
        ...

    async def page(self, principal: Principal, request: PageRequest) -> Page[Payout]:
        """Return a page of the payouts that the caller may see, newest first."""
        ...

    async def balance(self, seller_id: UserId, release: Release) -> Sequence[SellerBalance]:
        """Return what a seller is owed, by currency, as of one moment."""
        ...


class PayoutRuns(Protocol):
    """The scheduled runs: one for each interval, worked at by one process at a time."""

    async def claim(self, run_at: datetime, now: datetime, locked_until: datetime) -> RunLease | None:
        """Lease the run of an interval, or one that is not finished and that nobody holds any more.

        None while another process holds a run, and where this one was made. The very first call only remembers
        its interval: runs begin with the next one.
        """
        ...

    async def advance(self, lease: RunLease, seller_id: UserId | None, *, made: int) -> bool:
        """Remember who is done, in the transaction that paid a seller out; False when the lease was lost.

        That are all up to that seller, by id; None while the first one is not.
        """
        ...

    async def pause(self, lease: RunLease, now: datetime) -> None:
        """Let the next one who asks go on with a run."""
        ...

    async def finish(self, lease: RunLease, now: datetime) -> None:
        """Remember that a run paid every seller out, unless the lease was lost."""
        ...


class PayoutsTransaction(Transaction, Protocol):
    """The repositories of this context."""

    @property
    def destinations(self) -> Destinations:
        """The sellers' accounts at Stripe."""
        ...

    @property
    def payouts(self) -> PayoutRepository:
        """The payouts."""
        ...

    @property
    def payout_runs(self) -> PayoutRuns:
        """The scheduled runs."""
        ...

    @property
    def events(self) -> EventLog:
        """The event log."""
        ...
