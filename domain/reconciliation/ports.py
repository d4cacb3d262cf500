"""What reconciliation needs from outside."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from domain.events import EventLog
from domain.identity.ports import UserRepository
from domain.ids import ExceptionId, JournalId, PaymentId, ReconciliationId
from domain.ledger.model import Entry, JournalKind
from domain.ledger.ports import LedgerRepository
from domain.pages import Page, PageRequest
from domain.reconciliation.model import (
    BookedJournal,
    Drift,
    ExceptionStatus,
    Finding,
    ReconciliationException,
    Report,
    Resolution,
    Run,
    StripeLine,
)
from domain.transactions import Transaction


@dataclass(frozen=True, slots=True)
class LinePage:
    """A page of balance transactions, newest first, and whether older ones follow."""

    lines: Sequence[StripeLine]
    has_more: bool


class BalanceFeed(Protocol):
    """Stripe's list of what moved our balance. Errors of all: Unavailable where Stripe does not say."""

    async def page(self, from_at: datetime, to_at: datetime, after: str | None) -> LinePage:
        """Return a page of what moved from then until before then, of what is older than `after`."""
        ...

    async def in_payout(self, payout_id: str, after: str | None) -> LinePage | None:
        """Return a page of what is in a payout, of what is older than `after`, the payout itself included.

        None for a payout that Stripe did not make by itself: it does not say what is in those. None, too, for one
        of which it does not say all yet.
        """
        ...

    async def of_source(self, source: str) -> Sequence[StripeLine]:
        """Return all that one object has moved, at most a page."""
        ...

    async def line(self, transaction_id: str) -> StripeLine | None:
        """Return one movement; None when Stripe has none of that id."""
        ...


class Mender(Protocol):
    """Books what Stripe's own record proves, by the way that everything takes."""

    async def mend(self, line: StripeLine) -> bool:
        """Settle what Stripe says of the object behind a line; return whether anything could be settled.

        Safe to repeat. Never fails: what cannot be settled waits for a person.
        """
        ...


class RunRepository(Protocol):
    """The reconciliations as rows that wait for work."""

    async def add(self, run: Run) -> bool:
        """Insert a run, due at once; tell if it went in: of the nightly ones there is one for each period."""
        ...

    async def last_night(self) -> datetime | None:
        """Return where the period of the last nightly run ends; None when there was none."""
        ...

    async def lease(self, now: datetime, until: datetime) -> Run | None:
        """Take the oldest run that is due, unless one is being worked at (advisory lock).

        The first time, its listing is set to begin where earlier runs have ended.
        """
        ...

    async def save(self, run: Run, *, due_at: datetime | None, until: datetime | None) -> bool:
        """Write where a leased run is, when it is due again, and until when the lease is; False if it was lost."""
        ...

    async def finish(self, run: Run, *, statement_timeout_s: float) -> bool:
        """Add up what the run compared, and end it; False if its lease was lost. Takes long."""
        ...


class ComparisonRepository(Protocol):
    """What is known of Stripe's lines, which journals are theirs, and the exceptions."""

    async def rivals(self, lines: Sequence[StripeLine]) -> Sequence[StripeLine]:
        """Return the other known lines that have category and source of one of these, at most 1,000."""
        ...

    async def lines(self, ids: Collection[str]) -> Sequence[StripeLine]:
        """Return the known lines among these."""
        ...

    async def journals(self, keys: Sequence[tuple[JournalKind, str]]) -> Sequence[BookedJournal]:
        """Return the journals that exist of these kinds and sources."""
        ...

    async def journals_by_id(self, ids: Collection[JournalId]) -> Sequence[BookedJournal]:
        """Return the journals among these."""
        ...

    async def owners(self, lines: Sequence[StripeLine]) -> Mapping[str, PaymentId]:
        """Return the payment that each line is about, by the line's id, as far as we know one."""
        ...

    async def record(
        self,
        run: Run,
        findings: Sequence[Finding],
        now: datetime,
        *,
        seen: Collection[str] = (),
        mended: Collection[str] = (),
    ) -> None:
        """Write what was found: the lines, whose journals are whose, and the exceptions.

        `seen` are the lines that Stripe has just listed; the others were known before.

        An exception of an earlier run is brought up to date; it is closed where both sides agree now, and healed
        where that is because its line was mended. What a person has resolved stays so unless one of the sides has
        changed; it is closed like an open one. Whoever decides at this moment is waited for.
        """
        ...

    async def corrected(self, findings: Sequence[Finding]) -> Collection[str]:
        """Return the keys of those findings whose movement a person has corrected, and nobody back again.

        Whoever decides on one of them at this moment is waited for, and nobody does until the transaction ends.
        """
        ...

    async def next_payout(self, run: Run, after: str | None) -> StripeLine | None:
        """Return the line of the next payout of a run's period, in the order of their ids.

        With them come younger ones before it whose contents are not known, as Stripe may list them by now, and
        those that an exception is open for.
        """
        ...

    async def unpack(self, payout: StripeLine, page: LinePage | None, *, is_first: bool) -> None:
        """Write in which payout the lines of a page are, and add them up; None where nobody knows what is in it.

        The first page begins the sum anew.
        """
        ...

    async def contents(self, lines: Sequence[StripeLine]) -> Mapping[str, int]:
        """Return what the transactions in each payout come to, by the payout's line, where all are known."""
        ...

    async def forget_unseen(self, run: Run, now: datetime) -> None:
        """Forget lines of a run's period that Stripe lists no more, and close what was open or decided on them."""
        ...

    async def unseen_journals(
        self, run: Run, *, after: JournalId | None, limit: int
    ) -> tuple[Sequence[BookedJournal], JournalId | None]:
        """Look at the next journals of a run's period; return those that no line is known for, and the last id.

        The others of their payments come with them. The id is None when there are no more.
        """
        ...

    async def open_exceptions(self, *, after: ExceptionId | None, limit: int) -> Sequence[ReconciliationException]:
        """Return open exceptions in the order of their ids."""
        ...

    async def close(self, run: Run, keys: Collection[str], now: datetime) -> None:
        """Close exceptions of which both sides are gone, whatever a person has decided on them."""
        ...


class ReconciliationReader(Protocol):
    """What people ask of reconciliations."""

    async def page(self, request: PageRequest) -> Page[Run]:
        """Return a page of the runs, newest first."""
        ...

    async def report(self, run_id: ReconciliationId, now: datetime) -> Report | None:
        """Return a run with all that it found."""
        ...

    async def exceptions(
        self, run_id: ReconciliationId, request: PageRequest, status: ExceptionStatus | None
    ) -> Page[ReconciliationException]:
        """Return a page of what a run found, newest first."""
        ...

    async def oldest_exceptions(self, run_id: ReconciliationId, limit: int) -> Sequence[ReconciliationException]:
        """Return what a run found, the open ones before the others and the oldest first."""
        ...

    async def lock_exception(
        self, run_id: ReconciliationId, exception_id: ExceptionId
    ) -> ReconciliationException | None:
        """Lock an exception that a run found until the transaction ends, and return it as it is then."""
        ...

    async def corrections(self, exception_id: ExceptionId, currency: str) -> Sequence[Sequence[Entry]]:
        """Return the entries of each correction of an exception in a currency, the oldest first."""
        ...

    async def resolve(self, exception_id: ExceptionId, resolution: Resolution) -> None:
        """Write what a person decided on a locked exception."""
        ...

    async def drift(self) -> Drift:
        """Return by how much ledger and Stripe differ since the last run, what is in transit aside."""
        ...


class ReconciliationTransaction(Transaction, Protocol):
    """The repositories of this context."""

    @property
    def runs(self) -> RunRepository:
        """The runs."""
        ...

    @property
    def comparisons(self) -> ComparisonRepository:
        """What they compare."""
        ...

    @property
    def reconciliations(self) -> ReconciliationReader:
        """What people ask of them."""
        ...

    @property
    def users(self) -> UserRepository:
        """The users, among them the sellers."""
        ...

    @property
    def ledger(self) -> LedgerRepository:
        """The ledger."""
        ...

    @property
    def events(self) -> EventLog:
        """The event log."""
        ...
