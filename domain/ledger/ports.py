"""What the ledger needs from outside."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from domain.ids import JournalId, PaymentId
from domain.ledger.model import Account, Balance, Begun, Journal, JournalKind, TrialBalance, Verification
from domain.transactions import Transaction


class LedgerRepository(Protocol):
    """The journals and their entries, and the balances made from them."""

    async def post(self, journals: Sequence[Journal]) -> None:
        """Insert journals with their entries in one statement.

        Errors, at this call or at commit: Refused when a journal does not balance or its kind and source have
        one already.
        """
        ...

    async def journal(self, journal_id: JournalId) -> Journal | None:
        """Return a journal with its entries."""
        ...

    async def by_source(self, kind: JournalKind, source: str) -> Journal | None:
        """Return the journal of a kind that a source has caused."""
        ...

    async def payments_of(self, charge_ids: Collection[str]) -> Mapping[str, PaymentId]:
        """Return the payment of each Stripe charge that is booked."""
        ...

    async def balances_of(self, accounts: Collection[Account]) -> Sequence[Balance]:
        """Return the balances of some accounts, in each of their currencies, what is posted here included."""
        ...

    async def claim(self, accounts: Collection[Account]) -> None:
        """Let others who claim one of some accounts wait until the transaction ends, in one sorted order.

        What they posted is read by the next statement. Who posts without a claim does not wait. Claim once in a
        transaction, and wait for no lock afterwards that one who claims may have. Errors: Unavailable where
        another has them long.
        """
        ...

    async def trial_balance(
        self, after: tuple[str, str], *, at: datetime | None, limit: int, begun: Begun | None = None
    ) -> TrialBalance:
        """Return the balances that follow an account and currency, sorted, and the totals over all, of one moment.

        `at` counts what was posted by then, `begun` what was seen by an earlier page.
        """
        ...

    async def balance_page(self, after: tuple[str, str], *, limit: int) -> Sequence[Balance]:
        """Return the balances that follow an account and currency, sorted."""
        ...

    async def journals_of(self, account: Account, *, limit: int, after: JournalId | None) -> Sequence[Journal]:
        """Return the journals that touch an account, newest first."""
        ...

    async def roll_up(self) -> int:
        """Fold the entries of finished transactions into the stored balances; return how many.

        Returns 0 at once while another process does it (advisory lock).
        """
        ...

    async def verify(self) -> Verification:
        """Recompute everything from the entries."""
        ...


class LedgerTransaction(Transaction, Protocol):
    """The repositories of this context."""

    @property
    def ledger(self) -> LedgerRepository:
        """The ledger."""
        ...
