"""`/v1/ledger`: the books, for finance."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from falcon.asgi import Request, Response
from pydantic import Field, TypeAdapter

from api.cursors import decode_cursor, encode_cursor, not_ours, read_snapshot, write_snapshot
from api.operations import operation
from api.rendering import render
from api.schemas import AnswerModel, PageQuery, QueryModel, Text, Time, write_cursor
from domain.ids import JournalId
from domain.ledger.model import Account, Balance, Begun, Entry, Journal, JournalKind, TrialBalance, is_account
from domain.ledger.service import LedgerService
from domain.money import SETTLED_CURRENCIES

_MAX_ACCOUNTS = 1_000
_MAX_TRIAL_ACCOUNTS = 10_000
_MAX_CURSOR = 4_096
"""Enough for some hundreds of transactions under way."""
_NOW = "-"
_TIME = TypeAdapter(Time)


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


def read_account_cursor(cursor: str, parts: int) -> list[str]:
    """Return what a cursor holds: an account, a currency and perhaps more. Errors: Invalid `cursor_invalid`."""
    try:
        found = decode_cursor(cursor).decode().split()
    except ValueError:
        raise not_ours() from None
    if len(found) != parts or not is_account(found[0]) or found[1] not in SETTLED_CURRENCIES:
        raise not_ours()
    return found


AccountCursor = Annotated[
    Annotated[Text, Field(max_length=_MAX_CURSOR)] | None, Field(description="`next_cursor` of the page before")
]


class AccountQuery(QueryModel):
    """Which page of the accounts."""

    limit: int = Field(default=_MAX_ACCOUNTS, ge=1, le=_MAX_ACCOUNTS)
    cursor: AccountCursor = None

    def after(self) -> tuple[str, str]:
        """Return the account and currency that the page follows. Errors: Invalid `cursor_invalid`."""
        if self.cursor is None:
            return "", ""
        account, currency = read_account_cursor(self.cursor, 2)
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


class CurrencyTotalAnswer(AnswerModel):
    """The two sides of the books in one currency; they are equal."""

    currency: str
    debit_minor: int
    credit_minor: int


class TrialBalanceAnswer(AnswerModel):
    """The accounts at a time, sorted by name and currency, and the totals over all of them, which must be equal.

    Where there are more accounts than the limit, `next_cursor` leads to the others at that time, as they were when
    the first page was read.
    """

    at: datetime
    accounts: Sequence[BalanceAnswer]
    totals: Sequence[CurrencyTotalAnswer]
    next_cursor: str | None

    @classmethod
    def of(cls, trial: TrialBalance, place: "_Place", read_at: datetime, limit: int) -> "TrialBalanceAnswer":
        """Render a trial balance, of which one account more was asked for than is shown.

        `read_at` is when its first page was read.
        """
        accounts = [BalanceAnswer.of(balance) for balance in trial.balances[:limit]]
        next_cursor = None
        if len(trial.balances) > limit:
            after = (accounts[-1].account, accounts[-1].currency)
            next_cursor = _Place(after, place.at, Begun(read_at, trial.snapshot)).write()
        return cls(
            at=place.at or read_at,
            accounts=accounts,
            totals=[CurrencyTotalAnswer.model_validate(total, from_attributes=True) for total in trial.totals],
            next_cursor=next_cursor,
        )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a page of a trial balance begins: after an account and currency; at what time, in which one begun."""

    after: tuple[str, str]
    at: datetime | None
    begun: Begun | None = None

    def write(self) -> str:
        """Return a place in a trial balance that was begun as a cursor."""
        assert self.begun is not None  # noqa: S101 - its first page was read
        at = self.at.isoformat() if self.at is not None else _NOW
        parts = (*self.after, at, self.begun.read_at.isoformat(), self.begun.snapshot)
        return encode_cursor(" ".join(parts).encode())

    @classmethod
    def read(cls, cursor: str) -> "_Place":
        """Return the place in a cursor. Errors: Invalid `cursor_invalid`."""
        account, currency, at, read_at, snapshot = read_account_cursor(cursor, 5)
        try:
            begun = Begun(_TIME.validate_python(read_at), write_snapshot(*read_snapshot(snapshot)))
            return cls((account, currency), _TIME.validate_python(at) if at != _NOW else None, begun)
        except ValueError:
            raise not_ours() from None


class TrialBalanceQuery(QueryModel):
    """At what time, now by default; or which page of one that was begun."""

    at: Annotated[Time | None, Field(description="RFC 3339; that of the cursor with one")] = None
    limit: int = Field(default=_MAX_TRIAL_ACCOUNTS, ge=1, le=_MAX_TRIAL_ACCOUNTS)
    cursor: AccountCursor = None

    def place(self) -> _Place:
        """Return where the page begins. Errors: Invalid `cursor_invalid`."""
        return _Place(("", ""), self.at) if self.cursor is None else _Place.read(self.cursor)


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

    @operation("Get the trial balance", "finance", TrialBalanceAnswer, query=TrialBalanceQuery)
    async def on_get(self, req: Request, resp: Response) -> None:
        """Get the balances of the accounts and the totals of all."""
        query: TrialBalanceQuery = req.context.query
        place = query.place()
        trial = await self._ledger.trial_balance(
            req.context.principal, place.after, at=place.at, limit=query.limit + 1, begun=place.begun
        )
        read_at = place.begun.read_at if place.begun else datetime.now(UTC)
        render(resp, TrialBalanceAnswer.of(trial, place, read_at, query.limit))
