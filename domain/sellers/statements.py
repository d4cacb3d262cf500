"""Statements: what moved on a seller's account in a period, line by line."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from domain.clock import Clock
from domain.errors import Invalid, NotFound
from domain.identity.model import Principal, Role, require_role
from domain.identity.ports import UserRepository
from domain.ids import JournalId, PaymentId, UserId
from domain.ledger.model import JournalKind, seller_payable
from domain.ledger.ports import LedgerRepository
from domain.transactions import Begin, Transaction

_DEFAULT_CURRENCY = "USD"
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class StatementQuery:
    """Which statement: whose (None: the caller's), in which currency (None: the only one), from when until when.

    A line belongs to the period by the time of its journal: not before `start`, and before `end`.
    """

    start: datetime | None = None
    end: datetime | None = None
    currency: str | None = None
    seller_id: UserId | None = None


@dataclass(frozen=True, slots=True)
class Period:
    """What is asked of the ledger: a seller's account in one currency, in a span of time."""

    seller_id: UserId
    currency: str
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class StatementLine:
    """A journal that moved a seller's balance, and the balance after it; what is owed to the seller is above 0."""

    journal_id: JournalId
    kind: JournalKind
    source: str
    payment_id: PaymentId | None
    created_at: datetime
    amount_minor: int
    balance_minor: int


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Where the next part of a statement begins: after the line of a journal, in what a snapshot saw.

    Lines stand in the order in which journals were made. One that is committed late stands before others that were
    shown already, so what came after the snapshot belongs to the next statement, and to no part of this one.
    """

    after: JournalId
    snapshot: str
    """As PostgreSQL writes it: `xmin:xmax:` and the numbers of the transactions under way between them."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A part of a statement: the balance before its first line, its lines, and the balance after the last one.

    `next_part` is where the next part begins, None on the last one. Each part begins with the balance with which
    the one before ends.
    """

    period: Period
    opening_minor: int
    lines: Sequence[StatementLine]
    next_part: Bookmark | None

    @property
    def closing_minor(self) -> int:
        """The balance after the last line."""
        return self.lines[-1].balance_minor if self.lines else self.opening_minor


class StatementRepository(Protocol):
    """The ledger's entries of a seller's account, in the order in which they were made."""

    async def opening(self, period: Period, bookmark: Bookmark | None) -> tuple[int, str]:
        """Return the balance before a period, or where a part begins, and the snapshot that it is of."""
        ...

    async def lines(
        self, period: Period, after: JournalId | None, *, opening_minor: int, snapshot: str, limit: int
    ) -> Sequence[StatementLine]:
        """Return the next lines of a period as a snapshot saw them, at most `limit`, with running balances."""
        ...


class StatementsTransaction(Transaction, Protocol):
    """The repositories of this context."""

    @property
    def users(self) -> UserRepository:
        """The users, among them the sellers."""
        ...

    @property
    def ledger(self) -> LedgerRepository:
        """The ledger."""
        ...

    @property
    def statements(self) -> StatementRepository:
        """The statements."""
        ...


class StatementService:
    """The statements, for sellers and finance."""

    def __init__(self, begin: Begin[StatementsTransaction], clock: Clock, *, lines_at_once: int = 500) -> None:
        """Keep the collaborators, and how many lines of a whole statement are held in memory at once."""
        self._begin = begin
        self._clock = clock
        self._lines_at_once = lines_at_once

    async def part(
        self, principal: Principal, query: StatementQuery, *, bookmark: Bookmark | None, limit: int
    ) -> Statement:
        """Return the first part of a statement, or the one at a bookmark; at most `limit` lines.

        Sellers see their own, finance sees all. Errors: Forbidden; NotFound `seller_not_found`; Invalid
        `seller_needed`, `currency_needed`, `period_invalid`.
        """
        async with self._begin() as tx:
            period = await self._period(tx, principal, query)
            opening_minor, snapshot = await tx.statements.opening(period, bookmark)
            after = bookmark.after if bookmark else None
            lines = await tx.statements.lines(
                period, after, opening_minor=opening_minor, snapshot=snapshot, limit=limit + 1
            )
        shown = lines[:limit]
        next_part = Bookmark(shown[-1].journal_id, snapshot) if len(lines) > limit else None
        return Statement(period, opening_minor, shown, next_part)

    async def whole(
        self, principal: Principal, query: StatementQuery
    ) -> tuple[Statement, AsyncIterator[StatementLine]]:
        """Return a statement without its lines, and all its lines one after the other.

        They are read in parts, all as one snapshot saw them, and no transaction stays open between: whoever reads
        slowly holds nothing up. Errors as of `part`, before the first line.
        """
        async with self._begin() as tx:
            period = await self._period(tx, principal, query)
            opening_minor, snapshot = await tx.statements.opening(period, None)
        return Statement(period, opening_minor, (), None), self._lines(period, opening_minor, snapshot)

    async def _lines(self, period: Period, opening_minor: int, snapshot: str) -> AsyncIterator[StatementLine]:
        after: JournalId | None = None
        while True:
            async with self._begin() as tx:
                lines = await tx.statements.lines(
                    period, after, opening_minor=opening_minor, snapshot=snapshot, limit=self._lines_at_once
                )
            for line in lines:
                yield line
            if len(lines) < self._lines_at_once:
                return
            after, opening_minor = lines[-1].journal_id, lines[-1].balance_minor

    async def _period(self, tx: StatementsTransaction, principal: Principal, query: StatementQuery) -> Period:
        seller_id = _whose(principal, query.seller_id)
        if seller_id not in await tx.users.seller_rates([seller_id]):
            raise NotFound("there is no such seller", code="seller_not_found")
        end = query.end or self._clock.now()
        start = query.start or _BEGINNING
        if start > end:
            raise Invalid("a period begins before it ends", code="period_invalid")
        return Period(seller_id, query.currency or await _only_currency(tx, seller_id), start, end)


def _whose(principal: Principal, seller_id: UserId | None) -> UserId:
    require_role(principal, Role.SELLER, Role.FINANCE)
    if principal.role is Role.FINANCE:
        if seller_id is None:
            raise Invalid("finance names the seller", code="seller_needed")
        return seller_id
    if seller_id not in {None, principal.user_id}:
        raise NotFound("there is no such seller", code="seller_not_found")
    return principal.user_id


async def _only_currency(tx: StatementsTransaction, seller_id: UserId) -> str:
    currencies = sorted(balance.currency for balance in await tx.ledger.balances_of([seller_payable(seller_id)]))
    if len(currencies) > 1:
        raise Invalid("the seller was paid in several currencies", code="currency_needed", currencies=currencies)
    return currencies[0] if currencies else _DEFAULT_CURRENCY
