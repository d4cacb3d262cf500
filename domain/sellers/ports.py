"""What sellers need from outside."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from domain.events import EventLog
from domain.identity.ports import UserRepository
from domain.ids import UserId
from domain.sellers.model import SellerAccount
from domain.transactions import Transaction


class SellerAccountRepository(Protocol):
    """The sellers' accounts, as clients read them and as rows that wait for work."""

    async def add(self, account: SellerAccount, *, publish_at: datetime) -> bool:
        """Insert an account, due at once; return False when the seller has one.

        Errors: Refused for who is no seller.
        """
        ...

    async def by_sellers(self, ids: Collection[UserId]) -> Mapping[UserId, SellerAccount]:
        """Return the accounts of those sellers that have one, unlocked."""
        ...

    async def lock(self, seller_id: UserId) -> SellerAccount | None:
        """Lock a seller's account until the transaction ends, and return it."""
        ...

    async def lease(self, ids: Sequence[UserId], now: datetime, locked_until: datetime) -> Sequence[SellerAccount]:
        """Take those of the accounts that are due and that nobody holds, skipping locked rows.

        Counts the attempt and, where there is no account at Stripe yet, starts the life of the Stripe key.
        """
        ...

    async def save(self, account: SellerAccount, *, due_at: datetime | None) -> None:
        """Write a locked account and when it is due again, and end its lease."""
        ...

    async def ask(self, account: SellerAccount, *, due_at: datetime, publish_at: datetime) -> None:
        """Write a locked account that somebody wants to be looked at; whoever holds it looks again then."""
        ...

    async def wake(
        self, stripe_account_id: str, seller_id: UserId | None, *, due_at: datetime, publish_at: datetime
    ) -> UserId | None:
        """Make an account due again, and return whose it is; None when it is not one of ours.

        It is the one with Stripe's id, or, while that is unknown, the one of the seller whom Stripe names. Whoever
        holds it looks again then.
        """
        ...


class SellersTransaction(Transaction, Protocol):
    """The repositories of this context."""

    @property
    def users(self) -> UserRepository:
        """The users, among them the sellers with their commissions."""
        ...

    @property
    def seller_accounts(self) -> SellerAccountRepository:
        """The sellers' accounts at Stripe."""
        ...

    @property
    def events(self) -> EventLog:
        """The event log."""
        ...
