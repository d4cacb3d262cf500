"""What settling needs of payouts and of their reversals, as rows that wait for work."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from domain.ids import JournalId, PayoutId, ReversalId
from domain.ledger.model import EntryRef
from domain.payouts.model import PaidDebit, Payout, Reversal


class PayoutWorkRepository(Protocol):
    """The payouts as rows that wait for work."""

    async def lease(self, ids: Sequence[PayoutId], now: datetime, locked_until: datetime) -> Sequence[Payout]:
        """Take those of the payouts that are due and that nobody holds, skipping locked rows.

        Counts the attempt, starts the life of the Stripe key, makes a pending payout `processing`.
        """
        ...

    async def by_ids(self, ids: Collection[PayoutId]) -> Mapping[PayoutId, Payout]:
        """Return the payouts that exist, by id, unlocked."""
        ...

    async def of_transfers(self, transfer_ids: Collection[str]) -> Sequence[Payout]:
        """Return the payouts of transfers at Stripe, by id, unlocked."""
        ...

    async def of_bank_payouts(self, stripe_payout_ids: Collection[str]) -> Sequence[Payout]:
        """Return the payouts that payouts to a bank took along, by id, unlocked."""
        ...

    async def lock(self, ids: Sequence[PayoutId]) -> Sequence[Payout]:
        """Lock those of the payouts that exist until the transaction ends, in sorted order.

        Lock orders and payments first.
        """
        ...

    async def save(self, payout: Payout, *, due_at: datetime | None) -> None:
        """Write a locked payout and when it is due again, and end its lease and its quarantine."""
        ...

    async def close(self, payout_id: PayoutId, journal_id: JournalId) -> None:
        """Count the first entry of its journal among those of a saved payout that is booked.

        Errors: Refused where they do not come to nothing then.
        """
        ...

    async def of_same_payments(self, payout_id: PayoutId) -> Sequence[PayoutId]:
        """Return the other payouts that took shares of the payments of which a payout takes something, unlocked.

        Those of its seller alone.
        """
        ...

    async def let_go(self, payout_id: PayoutId) -> Collection[EntryRef]:
        """Let other payouts take the entries of a saved payout whose transfer was never made.

        Returns those among them by which its seller loses.
        """
        ...

    async def quarantine(self, payout_id: PayoutId, reason: str, at: datetime) -> None:
        """Take a payout out of work until a person has looked at it."""
        ...


class ReversalWorkRepository(Protocol):
    """The reversals of payouts' transfers, as rows that wait for work."""

    async def lock_payers(self, losses: Collection[EntryRef]) -> None:
        """Lock all payouts of which losses of sellers may be taken back, booked or not, sorted by id.

        Keeps those sellers from being paid out until the transaction ends.
        """
        ...

    async def debits_of(self, losses: Collection[EntryRef]) -> Sequence[PaidDebit]:
        """Return what of losses can be taken back of booked payouts, each of the last that has something left.

        Left out is what is taken back already, what a later payout has made up for, what is not lost any more, and
        what has to wait for a payout that is not booked yet. Lock the payers first.
        """
        ...

    async def losses_of(self, payout_id: PayoutId) -> Collection[EntryRef]:
        """Return what its seller lost of payments whose shares a locked payout takes, and nobody took back yet.

        They may have waited for this payout.
        """
        ...

    async def add(self, reversals: Sequence[Reversal]) -> None:
        """Insert reversals of locked payouts, due at once.

        Errors: Refused when more would be taken back than was transferred.
        """
        ...

    async def lease(self, ids: Sequence[ReversalId], now: datetime, locked_until: datetime) -> Sequence[Reversal]:
        """Take those of the reversals that are due and that nobody holds, skipping locked rows.

        Counts the attempt and starts the life of the Stripe key.
        """
        ...

    async def find(self, reversal_id: ReversalId | None, stripe_reversal_id: str | None) -> Reversal | None:
        """Return the reversal with Stripe's id, or else the one with ours, unlocked."""
        ...

    async def of_payout(self, payout_id: PayoutId) -> Sequence[Reversal]:
        """Return what is or was to be taken back of a payout, oldest first, at most 1,000."""
        ...

    async def lock(self, reversal_id: ReversalId) -> Reversal:
        """Lock a reversal that exists until the transaction ends. Lock its payout first."""
        ...

    async def save(self, reversal: Reversal, *, due_at: datetime | None) -> None:
        """Write a locked reversal and when it is due again, and end its lease and its quarantine."""
        ...

    async def reversed_minor(self, payout_id: PayoutId) -> int:
        """Return how much of a payout was taken back."""
        ...

    async def quarantine(self, reversal_id: ReversalId, reason: str, at: datetime) -> None:
        """Take a reversal out of work until a person has looked at it."""
        ...
