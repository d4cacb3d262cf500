"""Whole runs on the real database, against a Stripe that is a list."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from domain.identity.model import Role
from domain.ids import ExceptionId, ReconciliationId, uuid7
from domain.ledger.model import BANK, PROCESSING_FEES, STRIPE_BALANCE, Entry, JournalKind, seller_payable
from domain.pages import PageRequest
from domain.reconciliation.desk import Correction, ReconciliationDesk
from domain.reconciliation.model import (
    BreakKind,
    ExceptionStatus,
    ReconciliationException,
    Report,
    Run,
    RunStatus,
    Step,
    StripeLine,
)
from domain.reconciliation.ports import LinePage
from domain.reconciliation.service import Reconciler, ReconciliationPolicy
from tests.builders import NOW, Begin, Shop, a_journal, a_line_of_stripe, a_user, principal, unique
from tests.domain.fakes import FakeClock

PAGE = 3


@dataclass
class ListedStripe:
    """Stripe's list in pages of three; `fails_after` so many pages it is out of reach once."""

    lines: list[StripeLine] = field(default_factory=list)
    payouts: dict[str, list[StripeLine]] = field(default_factory=dict)
    asked_in_payouts: list[str | None] = field(default_factory=list)
    payout_fails_at: int | None = None
    pages: int = 0
    fails_at: int | None = None

    async def page(self, from_at: datetime, to_at: datetime, after: str | None) -> LinePage:
        self.pages += 1
        if self.pages == self.fails_at:
            raise Unavailable("Stripe is away", code="stripe_unavailable")
        newest_first = sorted(self.lines, key=lambda line: (line.created_at, line.id), reverse=True)
        found = [line for line in newest_first if from_at <= line.created_at < to_at]
        start = next((place + 1 for place, line in enumerate(found) if line.id == after), 0)
        return LinePage(found[start : start + PAGE], len(found) > start + PAGE)

    async def in_payout(self, payout_id: str, after: str | None) -> LinePage | None:
        self.asked_in_payouts.append(after)
        if len(self.asked_in_payouts) == self.payout_fails_at:
            raise Unavailable("Stripe is away", code="stripe_unavailable")
        if payout_id not in self.payouts:
            return None
        found = sorted(self.payouts[payout_id], key=lambda line: line.id)
        start = next((place + 1 for place, line in enumerate(found) if line.id == after), 0)
        return LinePage(found[start : start + PAGE], len(found) > start + PAGE)

    async def of_source(self, source: str) -> Sequence[StripeLine]:
        return [line for line in self.lines if line.source == source]

    async def line(self, transaction_id: str) -> StripeLine | None:
        return next((line for line in self.lines if line.id == transaction_id), None)


@dataclass
class Healer:
    """Books a charge that it is told to heal."""

    books: "Books"
    heals: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    async def mend(self, line: StripeLine) -> bool:
        self.asked.append(line.id)
        if line.id in self.heals:
            await self.books.post(line)
        return line.id in self.heals


class Books:
    """Payments of the shop with their lines at Stripe and their journals."""

    def __init__(self, shop: Shop, stripe: ListedStripe) -> None:
        self.shop = shop
        self.stripe = stripe

    async def charge(self, **changes: Any) -> StripeLine:
        """A charge at Stripe of a payment of ours, as yet unbooked."""
        payment = await self.shop.payment()
        line = a_line_of_stripe(payment_id=payment.id, charge_id=f"ch_{payment.id}", intent_id=f"pi_{payment.id}")
        line = replace(line, source=line.charge_id, **changes)
        self.stripe.lines.append(line)
        return line

    async def post(
        self, line: StripeLine, *, amount_minor: int | None = None, fee_minor: int | None = None
    ) -> None:
        """Book a charge and its fee."""
        seller = seller_payable(self.shop.seller.id)
        amount = line.amount_minor if amount_minor is None else amount_minor
        fee = line.fee_minor if fee_minor is None else fee_minor
        changes = {"payment_id": line.payment_id, "created_at": line.created_at, "currency": line.currency}
        journals = [a_journal((STRIPE_BALANCE, amount), (seller, -amount), source=line.source, **changes)]
        if fee:
            fee_changes = {**changes, "kind": JournalKind.STRIPE_FEE, "source": line.id}
            journals.append(a_journal((seller, fee), (STRIPE_BALANCE, -fee), **fee_changes))
        async with self.shop.begin() as tx:
            await tx.ledger.post(journals)
            await tx.commit()

    async def paid_out(self, lines: Sequence[StripeLine], *, less_minor: int = 0) -> StripeLine:
        """A payout to our bank of what is in lines, or of less, that both sides have."""
        amount = sum(line.net_minor for line in lines) - less_minor
        payout = a_line_of_stripe(category="payout", source=unique("po"), amount_minor=-amount, fee_minor=0)
        self.stripe.lines.append(payout)
        self.stripe.payouts[payout.source or ""] = [payout, *lines]
        kind, source = JournalKind.BANK_PAYOUT, payout.source
        journal = a_journal(
            (BANK, amount), (STRIPE_BALANCE, -amount), kind=kind, source=source, created_at=payout.created_at
        )
        async with self.shop.begin() as tx:
            await tx.ledger.post([journal])
            await tx.commit()
        return payout

    async def paid(self, **changes: Any) -> StripeLine:
        """A charge that both sides have."""
        line = await self.charge(**changes)
        await self.post(line)
        return line


@pytest.fixture(autouse=True)
async def alone(connection: AsyncConnection) -> None:
    """The runs and exceptions that other tests have committed are none of these tests'."""
    await connection.execute(text("UPDATE reconciliations SET due_at = 'infinity' WHERE due_at IS NOT NULL"))
    await connection.execute(
        text("UPDATE reconciliation_exceptions SET status = 'closed', closed_at = now() WHERE status = 'open'")
    )


@pytest.fixture
def stripe() -> ListedStripe:
    return ListedStripe()


@pytest.fixture
def books(shop: Shop, stripe: ListedStripe) -> Books:
    return Books(shop, stripe)


@pytest.fixture
def healer(books: Books) -> Healer:
    return Healer(books)


@pytest.fixture
def reconciler(begin: Begin, stripe: ListedStripe, healer: Healer, clock: FakeClock) -> Reconciler:
    return Reconciler(begin, stripe, healer, clock, ReconciliationPolicy())


@pytest.fixture
def desk(begin: Begin, clock: FakeClock) -> ReconciliationDesk:
    return ReconciliationDesk(begin, clock)


Reconcile = Callable[..., Any]


@pytest.fixture
def reconcile(reconciler: Reconciler, desk: ReconciliationDesk, clock: FakeClock) -> Reconcile:
    """Reconcile the last day, and return what was found."""

    async def run_one(**budget: float) -> tuple[Report, list[ReconciliationException]]:
        clock.advance(1)
        run = await desk.order(NOW - timedelta(days=1), NOW, requested_by=None)
        done = await reconciler.work(budget_s=budget.get("budget_s", 60))
        assert done is not None
        assert done.status is RunStatus.SUCCEEDED
        return await desk.read(run.id), await found(run, desk)

    return run_one


async def found(run: Run, desk: ReconciliationDesk) -> list[ReconciliationException]:
    finance = principal(a_user(Role.FINANCE))
    return list((await desk.exceptions(finance, run.id, PageRequest(limit=100))).rows)


def kinds(exceptions: Sequence[ReconciliationException]) -> list[tuple[BreakKind, ExceptionStatus]]:
    return sorted((each.kind, each.status) for each in exceptions)


async def test_books_that_agree_have_no_exception_and_tie(books: Books, reconcile: Reconcile) -> None:
    for _ in range(4):
        await books.paid()

    report, exceptions = await reconcile()

    assert exceptions == []
    assert report.run.lines == 4
    (total,) = report.statement.totals
    assert (total.category, total.lines, total.stripe_minor, total.ledger_minor) == ("charge", 4, 7996, 7996)
    assert total.difference_minor == 0
    assert sum(day.stripe_minor for day in report.statement.days) == 7996 - 4 * 88


async def closing(report: Report) -> tuple[int, int]:
    """By how much the sides differ more at the end than at the beginning, and how much of that is unexplained."""
    (usd,) = [each for each in report.statement.balances if each.currency == "USD"]
    return usd.closing.difference_minor - usd.opening.difference_minor, (
        usd.closing.unexplained_minor - usd.opening.unexplained_minor
    )


async def test_each_break_is_found_with_its_kind_and_explains_the_difference(
    books: Books, stripe: ListedStripe, reconcile: Reconcile
) -> None:
    await books.paid()
    await books.charge()  # missing in the ledger
    await books.post(await books.charge(), amount_minor=1990)
    await books.post(await books.charge(), fee_minor=80)
    await books.post(replace(await books.charge(), currency="EUR"))
    doubled = await books.paid()
    stripe.lines.append(replace(doubled, id="txn_doubled", created_at=doubled.created_at + timedelta(seconds=9)))
    stripe.lines.append(a_line_of_stripe())  # of nobody
    stripe.lines.remove(await books.paid())  # missing at Stripe
    await books.charge(created_at=(NOW - timedelta(minutes=1)).replace(microsecond=0))  # late

    report, exceptions = await reconcile()

    assert sorted(each.kind for each in exceptions) == sorted(BreakKind)
    assert {each.status for each in exceptions} == {ExceptionStatus.OPEN}
    assert all(each.suggested_action for each in exceptions)
    (usd,) = [each for each in report.statement.balances if each.currency == "USD"]
    assert usd.closing.difference_minor - usd.opening.difference_minor != 0
    assert usd.closing.unexplained_minor == usd.opening.unexplained_minor
    assert sum(each.count for each in report.ages) == len(BreakKind)


async def test_exception_bears_both_sides(books: Books, reconcile: Reconcile) -> None:
    line = await books.charge()
    await books.post(line, amount_minor=1990)

    _, (exception,) = await reconcile()

    assert (exception.stripe_transaction_id, exception.stripe_source) == (line.id, line.source)
    assert (exception.stripe_amount_minor, exception.ledger_amount_minor) == (1999, 1990)
    assert len(exception.journal_ids) == 2
    assert exception.payment_id == line.payment_id


async def test_second_run_changes_nothing(
    books: Books, stripe: ListedStripe, reconcile: Reconcile, connection: AsyncConnection
) -> None:
    await books.paid()
    await books.charge()
    await books.post(await books.charge(), amount_minor=1990)
    doubled = await books.paid()
    stripe.lines.append(replace(doubled, id="txn_doubled", created_at=doubled.created_at + timedelta(seconds=9)))
    stripe.lines.remove(await books.paid())
    first, exceptions = await reconcile()
    before = await everything(connection)

    second, again = await reconcile()

    assert again == exceptions
    assert second.statement == first.statement
    assert await everything(connection) == before


async def everything(connection: AsyncConnection) -> list[Any]:
    tables = ("journals", "entries", "reconciled_journals", "reconciliation_exceptions", "payments", "events")
    return [(await connection.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2"))).all() for table in tables]


async def test_what_is_mended_is_healed_and_marked_with_the_run(
    books: Books, healer: Healer, reconcile: Reconcile, connection: AsyncConnection
) -> None:
    line = await books.charge()
    healer.heals.add(line.id)

    report, exceptions = await reconcile()

    assert kinds(exceptions) == [(BreakKind.MISSING_IN_LEDGER, ExceptionStatus.HEALED)]
    assert exceptions[0].closed_by == report.run.id
    marked = text("SELECT count(*) FROM reconciled_journals WHERE reconciliation_id = :id AND is_healing")
    assert (await connection.execute(marked, {"id": report.run.id})).scalar_one() == 2
    assert await closing(report) == (0, 0)


async def test_wrong_amounts_and_duplicates_are_not_mended(
    books: Books, stripe: ListedStripe, healer: Healer, reconcile: Reconcile
) -> None:
    await books.post(await books.charge(), amount_minor=1990)
    doubled = await books.paid()
    stripe.lines.append(replace(doubled, id="txn_doubled", created_at=doubled.created_at + timedelta(seconds=9)))

    await reconcile()

    assert healer.asked == []


async def test_exception_that_a_later_run_finds_matched_closes(books: Books, reconcile: Reconcile) -> None:
    line = await books.charge()
    await reconcile()
    await books.post(line)

    report, exceptions = await reconcile()

    assert exceptions == []
    assert (await closing(report)) == (0, 0)


async def test_line_that_stripe_lists_again_closes_its_exception(
    books: Books, stripe: ListedStripe, reconcile: Reconcile, connection: AsyncConnection
) -> None:
    line = await books.paid()
    stripe.lines.remove(line)
    _, (exception,) = await reconcile()
    assert exception.kind is BreakKind.MISSING_AT_STRIPE
    stripe.lines.append(line)

    _, exceptions = await reconcile()

    assert exceptions == []
    status = text("SELECT status FROM reconciliation_exceptions WHERE id = :id")
    assert (await connection.execute(status, {"id": exception.id})).scalar_one() == "closed"


async def test_line_that_vanishes_from_stripe_is_noticed(
    books: Books, stripe: ListedStripe, reconcile: Reconcile
) -> None:
    line = await books.paid()
    await reconcile()
    stripe.lines.remove(line)

    _, exceptions = await reconcile()

    assert kinds(exceptions) == [(BreakKind.MISSING_AT_STRIPE, ExceptionStatus.OPEN)]


async def test_journal_whose_line_is_of_another_period_is_no_exception(
    books: Books, reconcile: Reconcile, desk: ReconciliationDesk, reconciler: Reconciler
) -> None:
    line = await books.charge(created_at=(NOW - timedelta(days=2)).replace(microsecond=0))
    await books.post(line)

    report, exceptions = await reconcile()

    assert exceptions == []
    assert report.statement.totals == []


async def test_run_goes_on_at_the_page_where_it_was(
    books: Books, stripe: ListedStripe, reconciler: Reconciler, desk: ReconciliationDesk, clock: FakeClock
) -> None:
    for _ in range(2 * PAGE + 1):
        await books.paid()
    clock.advance(1)
    run = await desk.order(NOW - timedelta(days=1), NOW, requested_by=None)
    stripe.fails_at = 3
    with pytest.raises(Unavailable):
        await reconciler.work(budget_s=60)
    assert await reconciler.work(budget_s=60) is None, "it waits a little"
    clock.advance(60)

    done = await reconciler.work(budget_s=60)

    assert done is not None
    assert (done.id, done.status, done.lines) == (run.id, RunStatus.SUCCEEDED, 2 * PAGE + 1)
    assert stripe.pages == 4


async def test_run_stops_when_its_time_is_up_and_goes_on_later(
    books: Books, reconciler: Reconciler, desk: ReconciliationDesk, clock: FakeClock
) -> None:
    for _ in range(PAGE + 1):
        await books.paid()
    clock.advance(1)
    await desk.order(NOW - timedelta(days=1), NOW, requested_by=None)

    steps = []
    while (run := await reconciler.work(budget_s=0)) is not None:
        steps.append(run.step)

    # Journals that other tests have committed are looked at too.
    assert list(dict.fromkeys(steps)) == [Step.LISTING, Step.UNPACKING, Step.CHECKING, Step.MENDING, Step.DONE]


async def test_payout_to_our_bank_is_compared_with_what_stripe_lists_in_it(
    books: Books, stripe: ListedStripe, reconcile: Reconcile, connection: AsyncConnection
) -> None:
    lines = [await books.paid() for _ in range(PAGE + 1)]
    whole, short = await books.paid_out(lines), await books.paid_out(lines[:2], less_minor=1)

    report, (exception,) = await reconcile()

    assert (exception.kind, exception.stripe_transaction_id) == (BreakKind.AMOUNT_MISMATCH, short.id)
    assert (exception.stripe_amount_minor, exception.ledger_amount_minor) == (-2 * 1911 + 1, -2 * 1911 + 1)
    assert exception.contents_minor == 2 * 1911
    assert await closing(report) == (0, 0)
    contents = text("SELECT net_minor, lines, is_whole FROM stripe_payout_contents WHERE transaction_id = :id")
    assert (await connection.execute(contents, {"id": whole.id})).one() == ((PAGE + 1) * 1911, PAGE + 1, True)
    stripe.payouts[short.source or ""] = [short, *lines[:2], replace(lines[2], amount_minor=87)]

    _, (again,) = await reconcile()

    assert (again.id, again.status) == (exception.id, ExceptionStatus.CLOSED)


async def test_run_goes_on_within_the_payout_where_it_was(
    books: Books, stripe: ListedStripe, reconciler: Reconciler, desk: ReconciliationDesk, clock: FakeClock
) -> None:
    await books.paid_out([await books.paid() for _ in range(2 * PAGE)])
    clock.advance(1)
    run = await desk.order(NOW - timedelta(days=1), NOW, requested_by=None)
    stripe.payout_fails_at = 3

    with pytest.raises(Unavailable):
        await reconciler.work(budget_s=60)
    clock.advance(60)
    done = await reconciler.work(budget_s=60)

    assert done is not None
    assert done.status is RunStatus.SUCCEEDED
    assert await found(run, desk) == []
    first, second, failed, again = stripe.asked_in_payouts
    assert first is None
    assert failed == again != second


async def test_payout_whose_contents_stripe_does_not_list_is_compared_with_its_journal_alone(
    books: Books, stripe: ListedStripe, reconcile: Reconcile
) -> None:
    payout = await books.paid_out([await books.paid()], less_minor=100)
    del stripe.payouts[payout.source or ""]

    assert (await reconcile())[1] == []


async def test_balances_are_those_of_all_that_was_ever_booked_and_listed(
    books: Books, stripe: ListedStripe, reconcile: Reconcile, connection: AsyncConnection
) -> None:
    """They are worked out from sums that are kept; a whole scan says the same, before and after a roll-up."""
    for hours in (2, 5, 30, 60):
        at = (NOW - timedelta(hours=hours)).replace(microsecond=0)
        line = await books.paid(created_at=at)
        stripe.lines.append(replace(a_line_of_stripe(), created_at=at))
    changed = replace(line, created_at=line.created_at + timedelta(hours=20), amount_minor=2222)
    await reconcile()
    stripe.lines[-2:] = [changed]
    async with books.shop.begin() as tx:
        await tx.ledger.roll_up()
    await books.paid()

    report, _ = await reconcile()

    assert report.statement.balances
    for each in report.statement.balances:
        for at, standing in ((report.run.from_at, each.opening), (report.run.to_at, each.closing)):
            values = {"at": at, "currency": each.currency}
            scanned = (await connection.execute(WHOLE_SCAN, values)).one()
            assert (standing.stripe_minor, standing.ledger_minor) == tuple(scanned)


WHOLE_SCAN = text(
    """
    SELECT (SELECT coalesce(sum(amount_minor - fee_minor), 0) FROM stripe_transactions
            WHERE currency = :currency AND created_at < :at),
           (SELECT coalesce(sum(e.amount_minor), 0) FROM entries e JOIN journals j ON j.id = e.journal_id
            WHERE e.account = 'stripe_balance' AND e.currency = :currency AND j.created_at < :at)
    """
)


async def test_leased_run_is_nobody_elses(
    begin: Begin, reconciler: Reconciler, desk: ReconciliationDesk, clock: FakeClock
) -> None:
    for _ in range(2):
        await desk.order(NOW - timedelta(days=1), NOW - timedelta(hours=1), requested_by=None)
    async with begin() as tx:
        mine = await tx.runs.lease(clock.now(), clock.now() + timedelta(seconds=60))
        await tx.commit()
    assert mine is not None

    assert await reconciler.work(budget_s=60) is None
    clock.advance(61)
    other = await reconciler.work(budget_s=60)

    assert other is not None
    assert other.id == mine.id, "the oldest goes first"
    async with begin() as tx:
        assert not await tx.runs.save(mine, due_at=clock.now(), until=None), "the lease is lost"


async def test_missed_nights_are_caught_up_once(
    begin: Begin, reconciler: Reconciler, clock: FakeClock, connection: AsyncConnection
) -> None:
    assert await reconciler.plan_nights() == 1
    assert await reconciler.plan_nights() == 0
    clock.advance(3 * 86_400)

    assert await reconciler.plan_nights() == 3
    assert await reconciler.plan_nights() == 0


class TestResolution:
    @pytest.fixture
    async def finance(self, begin: Begin) -> Any:
        user = a_user(Role.FINANCE)
        async with begin() as tx:
            await tx.users.add(user)
            await tx.commit()
        return principal(user)

    async def test_person_closes_an_exception_with_a_correction(
        self, books: Books, reconcile: Reconcile, desk: ReconciliationDesk, finance: Any, begin: Begin
    ) -> None:
        await books.post(await books.charge(), fee_minor=80)
        report, (exception,) = await reconcile()
        correction = Correction("USD", [Entry(PROCESSING_FEES, 8), Entry(STRIPE_BALANCE, -8)])

        resolved = await desk.resolve(finance, report.run.id, exception.id, "a fee of another month", correction)

        assert resolved.resolution is not None
        async with begin() as tx:
            journal = await tx.ledger.journal(resolved.resolution.journal_id)
        assert journal.kind is JournalKind.CORRECTION
        again, exceptions = await reconcile()
        assert kinds(exceptions) == [(BreakKind.FEE_MISMATCH, ExceptionStatus.RESOLVED)]
        assert exceptions[0].resolution == resolved.resolution
        (usd,) = [each for each in again.statement.balances if each.currency == "USD"]
        assert usd.closing.unexplained_minor == usd.opening.unexplained_minor

    async def test_resolved_exception_is_open_again_when_a_side_changes(
        self, books: Books, stripe: ListedStripe, reconcile: Reconcile, desk: ReconciliationDesk, finance: Any
    ) -> None:
        line = await books.charge()
        await books.post(line, amount_minor=1990)
        report, (exception,) = await reconcile()
        await desk.resolve(finance, report.run.id, exception.id, "known", None)
        stripe.lines[:] = [replace(line, amount_minor=2100)]

        _, exceptions = await reconcile()

        assert [each.id for each in exceptions] == [exception.id]
        assert exceptions[0].status is ExceptionStatus.OPEN

    async def test_resolved_line_that_vanishes_from_stripe_explains_nothing_any_more(
        self, books: Books, stripe: ListedStripe, reconcile: Reconcile, desk: ReconciliationDesk, finance: Any
    ) -> None:
        await books.paid()
        line = a_line_of_stripe()
        stripe.lines.append(line)
        report, (exception,) = await reconcile()
        await desk.resolve(finance, report.run.id, exception.id, "of another shop", None)
        stripe.lines.remove(line)

        again, exceptions = await reconcile()

        assert exceptions == []
        assert await closing(again) == (0, 0)

    async def test_what_is_wrong_is_refused(
        self, books: Books, reconcile: Reconcile, desk: ReconciliationDesk, finance: Any
    ) -> None:
        await books.charge()
        report, (exception,) = await reconcile()
        run_id = report.run.id
        unbalanced = Correction("USD", [Entry(PROCESSING_FEES, 8), Entry(STRIPE_BALANCE, -7)])
        unknown = Correction("USD", [Entry(PROCESSING_FEES, 8), Entry("petty_cash", -8)])  # type: ignore[arg-type]  # on purpose

        for correction in (unbalanced, unknown, Correction("USD", []), replace(unbalanced, currency="XXX")):
            with pytest.raises(Invalid):
                await desk.resolve(finance, run_id, exception.id, "why", correction)
        with pytest.raises(NotFound):
            await desk.resolve(finance, run_id, ExceptionId(uuid7()), "why", None)
        with pytest.raises(NotFound):
            await desk.resolve(finance, ReconciliationId(uuid7()), exception.id, "why", None)
        with pytest.raises(Forbidden):
            await desk.resolve(principal(a_user(Role.ADMIN)), run_id, exception.id, "why", None)
        await desk.resolve(finance, run_id, exception.id, "why", None)
        with pytest.raises(Conflict):
            await desk.resolve(finance, run_id, exception.id, "why", None)


async def test_period_must_be_one(desk: ReconciliationDesk, clock: FakeClock) -> None:
    for from_at, to_at in (
        (NOW, NOW - timedelta(days=1)),
        (NOW - timedelta(days=1), NOW + timedelta(days=1)),
        (NOW - timedelta(days=500), NOW),
    ):
        with pytest.raises(Invalid):
            await desk.order(from_at, to_at, requested_by=None)
