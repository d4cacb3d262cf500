"""The work of reconciling: a step of a page at a time, each durable, so that a crash costs one page."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from uuid import UUID

from domain.clock import Clock
from domain.errors import Unavailable
from domain.ids import ExceptionId, JournalId, ReconciliationId, uuid7
from domain.reconciliation.matching import Known, journal_keys, judge, judge_journals
from domain.reconciliation.model import (
    BookedJournal,
    BreakKind,
    Finding,
    ReconciliationException,
    Run,
    RunStatus,
    Step,
    StripeLine,
)
from domain.reconciliation.ports import BalanceFeed, Mender, ReconciliationTransaction
from domain.reconciliation.rules import is_named_by_source
from domain.transactions import Begin

MENDABLE = frozenset(
    {
        BreakKind.MISSING_IN_LEDGER,
        BreakKind.UNKNOWN_SOURCE,
        BreakKind.FEE_MISMATCH,
        BreakKind.CURRENCY_MISMATCH,
        BreakKind.LATE,
    }
)
"""What Stripe's own record may mend. Another amount, or money that moved twice, is for a person."""

_JOURNALS = 500
_EXCEPTIONS = 50
_LOOK_UPS = 8
"""So many questions to Stripe at once."""


@dataclass(frozen=True, slots=True)
class ReconciliationPolicy:
    """The settings of reconciling, in seconds.

    The nightly run is made `nightly_after_s` after midnight (UTC), for what is still in transit then.
    """

    grace_s: float = 3600
    nightly_after_s: float = 2 * 3600
    max_nights: int = 31
    lease_s: float = 60
    retry_s: float = 10
    finish_timeout_s: float = 600


class Reconciler:
    """Works at the runs that are due, one at a time in all processes together."""

    def __init__(
        self,
        begin: Begin[ReconciliationTransaction],
        feed: BalanceFeed,
        mender: Mender,
        clock: Clock,
        policy: ReconciliationPolicy,
    ) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._feed = feed
        self._mender = mender
        self._clock = clock
        self._policy = policy

    async def plan_nights(self) -> int:
        """Make the runs of the nights that have none yet, missed ones included; return how many. Safe to race."""
        due = self._clock.now() - timedelta(seconds=self._policy.nightly_after_s)
        ends = datetime.combine(due.date(), time(), UTC)
        async with self._begin() as tx:
            last = await tx.runs.last_night()
            begins = max(last or ends - timedelta(days=1), ends - timedelta(days=self._policy.max_nights))
            planned = 0
            while begins < ends:
                run = replace(new_run(begins, begins + timedelta(days=1), self._clock.now()), is_nightly=True)
                planned += await tx.runs.add(run)
                begins = run.to_at
            await tx.commit()
        return planned

    async def work(self, *, budget_s: float) -> Run | None:
        """Bring the oldest due run forward for so long, or to its end; None when there is nothing to do.

        Whatever interrupts it, the next one goes on at the page where it was. While Stripe or the database is out
        of reach the run waits. Safe to repeat and to race.
        """
        started = self._clock.now()
        async with self._begin() as tx:
            run = await tx.runs.lease(started, self._lease_until())
            await tx.commit()
        while run is not None and run.step is not Step.DONE:
            try:
                moved = await self._step(run)
            except Unavailable:
                await self._put_back(run, self._policy.retry_s)
                raise
            if moved is None:
                return None
            run = moved
            if run.step is not Step.DONE and self._clock.now() - started >= timedelta(seconds=budget_s):
                await self._put_back(run, 0)
                break
        return run

    async def _step(self, run: Run) -> Run | None:
        """Take one step; None when another process has taken the run over."""
        match run.step:
            case Step.LISTING:
                return await self._list(run)
            case Step.UNPACKING:
                return await self._unpack(run)
            case Step.CHECKING:
                return await self._check(run)
            case Step.MENDING:
                return await self._mend(run)
            case Step.DONE:
                return run

    async def _list(self, run: Run) -> Run | None:
        """Compare a page of Stripe's list."""
        page = await self._feed.page(run.listed_from_at or run.from_at, run.to_at, run.cursor)
        async with self._begin() as tx:
            await self._compare(tx, run, page.lines)
            moved = replace(run, lines=run.lines + len(page.lines))
            if page.has_more and page.lines:
                moved = replace(moved, cursor=page.lines[-1].id)
            else:
                await tx.comparisons.forget_unseen(run, self._clock.now())
                moved = replace(moved, step=Step.UNPACKING, cursor=None)
            return await self._save(tx, moved)

    async def _unpack(self, run: Run) -> Run | None:
        """Add up a page of what Stripe lists in the next payout to our bank, and compare it when it is whole.

        What Stripe is not done with is compared without, and comes again in a later run.
        The cursor is the line of the last payout that is done, and the last line that was seen in the next one.
        """
        done, _, seen = (run.cursor or "").partition(" ")
        async with self._begin() as tx:
            payout = await tx.comparisons.next_payout(run, done or None)
        if payout is None:
            return await self._save_alone(replace(run, step=Step.CHECKING, cursor=None))
        page = await self._feed.in_payout(payout.source or "", seen or None)
        has_more = page is not None and page.has_more and bool(page.lines)
        async with self._begin() as tx:
            await tx.comparisons.unpack(payout, page, is_first=not seen)
            if page is not None and has_more:
                return await self._save(tx, replace(run, cursor=f"{done} {page.lines[-1].id}"))
            await self._compare(tx, run, [payout], is_news=False)
            return await self._save(tx, replace(run, cursor=payout.id))

    async def _check(self, run: Run) -> Run | None:
        """Look for the next journals that no line is known for, at Stripe itself."""
        after = JournalId(UUID(run.cursor)) if run.cursor else None
        async with self._begin() as tx:
            unseen, last = await tx.comparisons.unseen_journals(run, after=after, limit=_JOURNALS)
        lines = await self._look_up(unseen)
        async with self._begin() as tx:
            found = await self._compare(tx, run, lines)
            await self._record_unseen(tx, run, unseen, found)
            moved = replace(run, cursor=str(last)) if last else replace(run, step=Step.MENDING, cursor=None)
            return await self._save(tx, moved)

    async def _mend(self, run: Run) -> Run | None:
        """Look at the next open exceptions again, of whatever run, and mend what can be."""
        after = ExceptionId(UUID(run.cursor)) if run.cursor else None
        async with self._begin() as tx:
            exceptions = await tx.comparisons.open_exceptions(after=after, limit=_EXCEPTIONS)
            findings = await self._again(tx, run, exceptions)
            # What a person has booked is not booked once more.
            corrected = await tx.comparisons.corrected(findings)
            await tx.commit()
        await self._check_again(run, [each for each in exceptions if each.stripe_transaction_id is None])
        mendable = [each for each in findings if each.kind in MENDABLE and each.key not in corrected]
        broken = [each.line for each in mendable if each.line is not None]
        mended = await self._mend_lines(broken)
        async with self._begin() as tx:
            await self._compare(tx, run, broken, is_news=False, mended=mended)
            if exceptions:
                return await self._save(tx, replace(run, cursor=str(exceptions[-1].id)))
            ended = replace(
                run, status=RunStatus.SUCCEEDED, step=Step.DONE, cursor=None, finished_at=self._clock.now()
            )
            if not await tx.runs.finish(ended, statement_timeout_s=self._policy.finish_timeout_s):
                return None
            await tx.commit()
        return ended

    async def _again(
        self, tx: ReconciliationTransaction, run: Run, exceptions: Sequence[ReconciliationException]
    ) -> Sequence[Finding]:
        """Compare the lines of exceptions again, and close those whose line Stripe lists no more."""
        ids = {each.stripe_transaction_id for each in exceptions if each.stripe_transaction_id is not None}
        lines = await tx.comparisons.lines(ids)
        gone = ids - {line.id for line in lines}
        await tx.comparisons.close(run, gone, self._clock.now())
        return await self._compare(tx, run, lines, is_news=False)

    async def _check_again(self, run: Run, exceptions: Sequence[ReconciliationException]) -> None:
        """Look for journals at Stripe again that it did not list before."""
        if not exceptions:
            return
        wanted = {journal_id for each in exceptions for journal_id in each.journal_ids}
        async with self._begin() as tx:
            journals = await tx.comparisons.journals_by_id(wanted)
        lines = await self._look_up(journals)
        async with self._begin() as tx:
            found = await self._compare(tx, run, lines)
            await self._record_unseen(tx, run, journals, found)
            await tx.commit()

    async def _record_unseen(
        self,
        tx: ReconciliationTransaction,
        run: Run,
        journals: Sequence[BookedJournal],
        found: Sequence[Finding],
    ) -> None:
        seen = {journal.id for finding in found for journal in finding.ledger.journals}
        left = [journal for journal in journals if journal.id not in seen]
        now = self._clock.now()
        known = Known({}, {}, now, timedelta(seconds=self._policy.grace_s))
        await tx.comparisons.record(run, judge_journals(left, known), now)

    async def _compare(
        self,
        tx: ReconciliationTransaction,
        run: Run,
        lines: Sequence[StripeLine],
        *,
        is_news: bool = True,
        mended: Collection[str] = (),
    ) -> Sequence[Finding]:
        """Judge lines, with all that may be about the same movement, and write what was found.

        `is_news` where Stripe has just listed them.
        """
        if not lines:
            return []
        comparisons = tx.comparisons
        by_id = {line.id: line for line in (*await comparisons.rivals(lines), *lines)}
        together = sorted(by_id.values(), key=lambda line: line.id)
        journals = await comparisons.journals(journal_keys(together))
        now = self._clock.now()
        known = Known(
            {(journal.kind, journal.source): journal for journal in journals},
            await comparisons.owners(together),
            now,
            timedelta(seconds=self._policy.grace_s),
            await comparisons.contents(together),
        )
        findings = await self._with_corrections(tx, judge(together, known))
        seen = [line.id for line in lines] if is_news else []
        await comparisons.record(run, findings, now, seen=seen, mended=mended)
        return findings

    async def _with_corrections(
        self, tx: ReconciliationTransaction, findings: Sequence[Finding]
    ) -> Sequence[Finding]:
        """Doubt what agrees and is corrected besides: it is booked twice, and only a person takes that back."""
        corrected = await tx.comparisons.corrected([each for each in findings if each.kind is None])
        return [replace(each, kind=BreakKind.DUPLICATE) if each.key in corrected else each for each in findings]

    async def _look_up(self, journals: Sequence[BookedJournal]) -> Sequence[StripeLine]:
        """Ask Stripe for the movements that journals name, each once."""
        slots = asyncio.Semaphore(_LOOK_UPS)
        names = sorted({(is_named_by_source(journal.kind), journal.source) for journal in journals})

        async def look_up(name: str, *, by_source: bool) -> Sequence[StripeLine]:
            async with slots:
                if by_source:
                    return await self._feed.of_source(name)
                line = await self._feed.line(name)
                return [line] if line is not None else []

        found = await asyncio.gather(*(look_up(name, by_source=by_source) for by_source, name in names))
        return [line for lines in found for line in lines]

    async def _mend_lines(self, lines: Sequence[StripeLine]) -> Collection[str]:
        """Mend what can be; return the ids of the lines of which something was settled."""
        slots = asyncio.Semaphore(_LOOK_UPS)

        async def mend(line: StripeLine) -> bool:
            async with slots:
                return await self._mender.mend(line)

        settled = await asyncio.gather(*(mend(line) for line in lines))
        return [line.id for line, is_settled in zip(lines, settled, strict=True) if is_settled]

    async def _save(self, tx: ReconciliationTransaction, run: Run) -> Run | None:
        """Write where the run is and prolong its lease, in the transaction of the step; None if it was lost."""
        until = self._lease_until()
        if not await tx.runs.save(run, due_at=self._clock.now(), until=until):
            return None
        await tx.commit()
        return replace(run, lease_until=until)

    async def _save_alone(self, run: Run) -> Run | None:
        async with self._begin() as tx:
            return await self._save(tx, run)

    async def _put_back(self, run: Run, seconds: float) -> None:
        """End the lease; the run is due again then."""
        async with self._begin() as tx:
            due_at = self._clock.now() + timedelta(seconds=seconds)
            await tx.runs.save(run, due_at=due_at, until=None)
            await tx.commit()

    def _lease_until(self) -> datetime:
        return self._clock.now() + timedelta(seconds=self._policy.lease_s)


def new_run(from_at: datetime, to_at: datetime, now: datetime) -> Run:
    """Return a run of that period that nobody asked for."""
    return Run(
        id=ReconciliationId(uuid7()),
        status=RunStatus.PENDING,
        step=Step.LISTING,
        from_at=from_at,
        to_at=to_at,
        created_at=now,
        updated_at=now,
    )
