"""A person decides while a run looks at the same movement: over two connections, and each sees the other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.unit_of_work import Database
from domain.identity.model import Principal, Role
from domain.ledger.model import BANK, STRIPE_BALANCE, Entry, JournalKind
from domain.reconciliation.desk import Correction, ReconciliationDesk
from domain.reconciliation.model import NOTHING_BOOKED, BreakKind, ExceptionStatus, Finding, Run, StripeLine
from domain.reconciliation.service import Reconciler, ReconciliationPolicy, new_run
from tests.builders import NOW, Shop, a_journal, a_line_of_stripe, a_user, principal, unique
from tests.db.reconciliation.books import Books, Healer, ListedStripe
from tests.db.reconciliation.findings import found
from tests.domain.fakes import FakeClock


@dataclass
class Meeting:
    """A payout to our bank that is not booked, its exception, and the person who is to decide on it."""

    database: Database
    shop: Shop
    line: StripeLine
    run: Run
    finance: Principal
    blocked: Callable[[int], Awaitable[None]]

    async def decide(self, meanwhile: Callable[[], Awaitable[Any]]) -> None:
        """Book a correction, and do the other thing between that and its commit."""
        has_booked, may_go_on = asyncio.Event(), asyncio.Event()

        @asynccontextmanager
        async def standing_still() -> AsyncIterator[Any]:
            async with self.database.begin() as tx:
                commit = tx.commit

                async def commit_late() -> None:
                    has_booked.set()
                    await may_go_on.wait()
                    await commit()

                tx.commit = commit_late  # type: ignore[method-assign]  # of this one alone
                yield tx

        desk = ReconciliationDesk(standing_still, FakeClock())
        exception = await self.exception()
        correction = Correction("USD", [Entry(BANK, 1000), Entry(STRIPE_BALANCE, -1000)])
        deciding = asyncio.create_task(
            desk.resolve(self.finance, self.run.id, exception.id, "its webhook is lost", correction)
        )
        await has_booked.wait()
        other = asyncio.create_task(meanwhile())
        await self.blocked(1)
        may_go_on.set()
        await asyncio.gather(deciding, other)

    async def exception(self) -> Any:
        (exception,) = await found(self.run, ReconciliationDesk(self.database.begin, FakeClock()))
        return exception

    async def book(self) -> None:
        legs = (BANK, 1000), (STRIPE_BALANCE, -1000)
        async with self.database.begin() as tx:
            await tx.ledger.post([a_journal(*legs, kind=JournalKind.BANK_PAYOUT, source=self.line.source)])
            await tx.commit()

    async def record(self, kind: BreakKind) -> None:
        async with self.database.begin() as tx:
            await tx.comparisons.record(self.run, [Finding(self.line, NOTHING_BOOKED, kind)], NOW)
            await tx.commit()

    async def compare(self) -> None:
        """Look at the movement again, as mending does."""
        stripe, mender = ListedStripe([self.line]), Healer(Books(self.shop, ListedStripe()))
        policy = ReconciliationPolicy()
        reconciler = Reconciler(self.database.begin, stripe, mender, FakeClock(), policy)
        async with self.database.begin() as tx:
            await reconciler._compare(tx, self.run, [self.line], is_news=False)
            await tx.commit()


@pytest.fixture
async def meeting(
    database: Database,
    real_shop: Shop,
    owner_engine: AsyncEngine,
    blocked: Callable[[int], Awaitable[None]],
) -> Meeting:
    # After the period of the runs of other tests, which would find it.
    at = NOW + timedelta(minutes=5)
    line = a_line_of_stripe(category="payout", source=unique("po"), amount_minor=-1000, fee_minor=0, created_at=at)
    user = a_user(Role.FINANCE)
    run = new_run(NOW - timedelta(days=1), NOW, NOW)
    async with database.begin() as tx:
        await tx.users.add(user)
        await tx.runs.add(run)
        await tx.commit()
    async with owner_engine.begin() as connection:  # no worker takes it
        await connection.execute(
            text("UPDATE reconciliations SET due_at = 'infinity' WHERE id = :id"), {"id": run.id}
        )
    made = Meeting(database, real_shop, line, run, principal(user), blocked)
    await made.record(BreakKind.LATE)
    return made


async def test_movement_that_is_booked_while_somebody_corrects_it_is_booked_twice_and_shown(
    meeting: Meeting,
) -> None:
    await meeting.book()

    await meeting.decide(meanwhile=meeting.compare)

    exception = await meeting.exception()
    assert (exception.kind, exception.status) == (BreakKind.DUPLICATE, ExceptionStatus.OPEN)


async def test_what_somebody_books_by_hand_while_its_grace_ends_is_decided(meeting: Meeting) -> None:
    await meeting.decide(meanwhile=lambda: meeting.record(BreakKind.MISSING_IN_LEDGER))

    exception = await meeting.exception()
    assert (exception.kind, exception.status) == (BreakKind.MISSING_IN_LEDGER, ExceptionStatus.RESOLVED)
