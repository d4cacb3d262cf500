"""Reading the books, folding them up, and proving them."""

from collections.abc import Sequence
from datetime import datetime

from domain.errors import NotFound
from domain.identity.model import Principal, Role, require_role
from domain.ids import JournalId
from domain.ledger.model import Account, Balance, Begun, Journal, TrialBalance, Verification, is_account
from domain.ledger.ports import LedgerTransaction
from domain.transactions import Begin


class LedgerService:
    """The books, for finance and for operators. Posting is settlement's work alone."""

    def __init__(self, begin: Begin[LedgerTransaction]) -> None:
        """Keep the unit of work."""
        self._begin = begin

    async def trial_balance(
        self,
        principal: Principal,
        after: tuple[str, str],
        *,
        at: datetime | None,
        limit: int,
        begun: Begun | None = None,
    ) -> TrialBalance:
        """Return the balances that follow an account and currency, with the totals over all. Errors: Forbidden.

        `at` counts what was posted by then; `begun` tells of which trial balance this is another page.
        """
        require_role(principal, Role.FINANCE)
        async with self._begin() as tx:
            return await tx.ledger.trial_balance(after, at=at, limit=limit, begun=begun)

    async def accounts(self, principal: Principal, after: tuple[str, str], *, limit: int) -> Sequence[Balance]:
        """Return the balances that follow an account and currency, sorted. Errors: Forbidden."""
        require_role(principal, Role.FINANCE)
        async with self._begin() as tx:
            return await tx.ledger.balance_page(after, limit=limit)

    async def journal(self, principal: Principal, journal_id: JournalId) -> Journal:
        """Return a journal with its entries. Errors: Forbidden, NotFound."""
        require_role(principal, Role.FINANCE)
        async with self._begin() as tx:
            journal = await tx.ledger.journal(journal_id)
        if journal is None:
            raise NotFound("there is no such journal", code="journal_not_found")
        return journal

    async def journals_of(
        self, principal: Principal, account: Account, *, limit: int, after: JournalId | None
    ) -> Sequence[Journal]:
        """Return the journals that touch an account, newest first. Errors: Forbidden; NotFound for no account."""
        require_role(principal, Role.FINANCE)
        if not is_account(account):
            raise NotFound("there is no such account", code="account_not_found")
        async with self._begin() as tx:
            return await tx.ledger.journals_of(account, limit=limit, after=after)

    async def roll_up(self) -> int:
        """Fold finished entries into the stored balances; return how many. Safe to repeat and to race."""
        async with self._begin() as tx:
            folded = await tx.ledger.roll_up()
            await tx.commit()
        return folded

    async def verify(self) -> Verification:
        """Recompute everything from the entries."""
        async with self._begin() as tx:
            return await tx.ledger.verify()
