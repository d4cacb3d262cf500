"""`/v1/ledger`: the books, for finance."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from falcon.asgi import Request, Response
from pydantic import Field

from api.cursors import decode_cursor, encode_cursor, not_ours
from api.operations import operation
from api.rendering import render
from api.schemas import AnswerModel, PageQuery, QueryModel, Text, Time, write_cursor
from domain.ids import JournalId
from domain.ledger.model import Account, Balance, Entry, Journal, JournalKind, is_account
from domain.ledger.service import LedgerService
from domain.money import CURRENCY_DECIMALS

_MAX_ACCOUNTS = 1_000


class EntryAnswer(AnswerModel):
    """One leg of a journal: `debit_minor` or `credit_minor`."""

    account: str
    debit_minor: int | None = None
    credit_minor: int | None = None
    currency: str

    @classmethod
    def of(cls, entry: Entry, currency: str) -> "EntryAnswer":
        """Render a leg."""
        amount = entry.amount_minor
        side = {"debit_minor": amount} if amount > 0 else {"credit_minor": -amount}
        return cls(account=entry.account, currency=currency, **side)


class ConversionAnswer(AnswerModel):
    """An exchange that Stripe made, and its rate."""

    from_currency: str
    from_minor: int
    to_currency: str
    to_minor: int
    exchange_rate: Decimal | None


class JournalAnswer(AnswerModel):
    """A journal; its debits equal its credits. One half of an exchange tells of both currencies."""

    id: UUID
    kind: JournalKind
    source: str
    payment_id: UUID | None
    entries: Sequence[EntryAnswer]
    conversion: ConversionAnswer | None
    created_at: datetime

    @classmethod
    def of(cls, journal: Journal) -> "JournalAnswer":
        """Render a journal."""
        return cls(
            id=journal.id,
            kind=journal.kind,
            source=journal.source,
            payment_id=journal.payment_id,
            entries=[EntryAnswer.of(entry, journal.currency) for entry in journal.entries],
            conversion=ConversionAnswer.model_validate(journal.conversion, from_attributes=True)
            if journal.conversion is not None
            else None,
            created_at=journal.created_at,
        )


class BalanceAnswer(AnswerModel):
    """What an account holds in one currency; debits are positive."""

    account: str
    currency: str
    balance_minor: int

    @classmethod
    def of(cls, balance: Balance) -> "BalanceAnswer":
        """Render a balance."""
        return cls.model_validate(balance, from_attributes=True)


class AccountQuery(QueryModel):
    """Which page of the accounts."""

    limit: int = Field(default=_MAX_ACCOUNTS, ge=1, le=_MAX_ACCOUNTS)
    cursor: Annotated[Text, Field(max_length=128)] | None = Field(
        default=None, description="`next_cursor` of the page before"
    )

    def after(self) -> tuple[str, str]:
        """Return the account and currency that the page follows. Errors: Invalid `cursor_invalid`."""
        if self.cursor is None:
            return "", ""
        try:
            account, currency = decode_cursor(self.cursor).decode().split()
        except ValueError:
            account = currency = ""
        if not is_account(account) or currency not in CURRENCY_DECIMALS:
            raise not_ours()
        return account, currency


class AccountPage(AnswerModel):
    """A page of the accounts with their balances, sorted by name and currency."""

    data: Sequence[BalanceAnswer]
    next_cursor: str | None

    @classmethod
    def of(cls, balances: Sequence[Balance], limit: int) -> "AccountPage":
        """Render a page of balances, and whether there are more of them."""
        data = [BalanceAnswer.of(balance) for balance in balances[:limit]]
        if len(balances) <= limit:
            return cls(data=data, next_cursor=None)
        last = f"{data[-1].account} {data[-1].currency}"
        return cls(data=data, next_cursor=encode_cursor(last.encode()))


class JournalPage(AnswerModel):
    """The journals that touch an account, newest first."""

    data: Sequence[JournalAnswer]
    next_cursor: str | None


class CurrencyTotal(AnswerModel):
    """The two sides of the books in one currency; they are equal."""

    currency: str
    debit_minor: int
    credit_minor: int


class TrialBalance(AnswerModel):
    """All accounts at a time, and the totals that must be equal."""

    at: datetime
    accounts: Sequence[BalanceAnswer]
    totals: Sequence[CurrencyTotal]

    @classmethod
    def of(cls, balances: Sequence[Balance], at: datetime) -> "TrialBalance":
        """Render balances with their totals."""
        currencies = sorted({balance.currency for balance in balances})
        return cls(
            at=at,
            accounts=[BalanceAnswer.of(balance) for balance in balances],
            totals=[
                CurrencyTotal(
                    currency=currency,
                    debit_minor=sum(max(b.balance_minor, 0) for b in balances if b.currency == currency),
                    credit_minor=sum(max(-b.balance_minor, 0) for b in balances if b.currency == currency),
                )
                for currency in currencies
            ],
        )


class TrialBalanceQuery(QueryModel):
    """At what time; now by default."""

    at: Annotated[Time | None, Field(description="RFC 3339")] = None


class LedgerAccounts:
    """The accounts."""

    def __init__(self, ledger: LedgerService) -> None:
        """Keep the service."""
        self._ledger = ledger

    @operation("List the accounts with their balances", "finance", AccountPage, query=AccountQuery)
    async def on_get(self, req: Request, resp: Response) -> None:
        """List the accounts."""
        query: AccountQuery = req.context.query
        balances = await self._ledger.accounts(req.context.principal, query.after(), limit=query.limit + 1)
        render(resp, AccountPage.of(balances, query.limit))

    @operation("List the journals that touch an account", "finance", JournalPage, query=PageQuery)
    async def on_get_entries(self, req: Request, resp: Response, account: str) -> None:
        """List an account's journals, newest first."""
        page = req.context.query.request()
        after = JournalId(page.after) if page.after else None
        journals = await self._ledger.journals_of(
            req.context.principal, Account(account), limit=page.limit + 1, after=after
        )
        shown = journals[: page.limit]
        next_after = shown[-1].id if len(journals) > page.limit else None
        data = [JournalAnswer.of(journal) for journal in shown]
        render(resp, JournalPage(data=data, next_cursor=write_cursor(next_after)))


class LedgerJournals:
    """The journals."""

    def __init__(self, ledger: LedgerService) -> None:
        """Keep the service."""
        self._ledger = ledger

    @operation("Get a journal", "finance", JournalAnswer)
    async def on_get(self, req: Request, resp: Response, journal_id: UUID) -> None:
        """Get a journal with its entries."""
        journal = await self._ledger.journal(req.context.principal, JournalId(journal_id))
        render(resp, JournalAnswer.of(journal))


class LedgerTrialBalance:
    """The trial balance."""

    def __init__(self, ledger: LedgerService) -> None:
        """Keep the service."""
        self._ledger = ledger

    @operation("Get the trial balance", "finance", TrialBalance, query=TrialBalanceQuery)
    async def on_get(self, req: Request, resp: Response) -> None:
        """Get the balances of all accounts and their totals."""
        at = req.context.query.at
        balances = await self._ledger.balances(req.context.principal, at=at)
        render(resp, TrialBalance.of(balances, at or datetime.now(UTC)))
