"""Reconciliations as finance asks for them, reads them and decides on what they found."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from domain.clock import Clock
from domain.errors import Conflict, Invalid, NotFound, Refused
from domain.events import event
from domain.identity.model import Principal, Role, require_role
from domain.ids import ExceptionId, JournalId, ReconciliationId, UserId, uuid7
from domain.ledger.model import STRIPE_BALANCE, Entry, Journal, JournalKind, is_account
from domain.ledger.postings import undo
from domain.money import SETTLED_CURRENCIES
from domain.pages import Page, PageRequest
from domain.reconciliation.model import (
    Drift,
    ExceptionStatus,
    ReconciliationException,
    Report,
    Resolution,
    Run,
)
from domain.reconciliation.ports import ReconciliationTransaction
from domain.reconciliation.service import new_run
from domain.settlement.aftermath import tell_owing
from domain.transactions import Begin

DEFAULT_PERIOD = timedelta(days=1)
MAX_PERIOD = timedelta(days=400)
MAX_CORRECTION_MINOR = 10**12
"""What a correction moves at most, which the database holds too: far more than Stripe moves at once, and so little
that a balance reaches the end of 64 bits after nine million of them."""
_LEGS = 2
_DECIDABLE = frozenset({ExceptionStatus.OPEN, ExceptionStatus.RESOLVED})


@dataclass(frozen=True, slots=True)
class Correction:
    """What a person wants booked: entries of one currency that sum to zero."""

    currency: str
    entries: Sequence[Entry]


class ReconciliationDesk:
    """What finance does with reconciliations."""

    def __init__(self, begin: Begin[ReconciliationTransaction], clock: Clock) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._clock = clock

    async def request(self, principal: Principal, from_at: datetime | None, to_at: datetime | None) -> Run:
        """Ask for a reconciliation of a period, as of `order`; a worker takes it up.

        Errors: Forbidden; Invalid `period_invalid`.
        """
        require_role(principal, Role.FINANCE)
        return await self.order(from_at, to_at, requested_by=principal.user_id)

    async def order(self, from_at: datetime | None, to_at: datetime | None, *, requested_by: UserId | None) -> Run:
        """Make a run, for an operator where nobody is named. Errors: Invalid `period_invalid`.

        The period is in whole seconds. It ends now if nothing else is said, and begins a day before.
        """
        now = self._clock.now()
        to_at = (to_at or now).replace(microsecond=0)
        from_at = from_at.replace(microsecond=0) if from_at else to_at - DEFAULT_PERIOD
        if not from_at < to_at <= now or to_at - from_at > MAX_PERIOD:
            raise Invalid(
                f"the period begins before it ends, ends in the past and lasts {MAX_PERIOD.days} days at most",
                code="period_invalid",
            )
        run = replace(new_run(from_at, to_at, now), requested_by=requested_by)
        async with self._begin() as tx:
            await tx.runs.add(run)
            await tx.commit()
        return run

    async def page(self, principal: Principal, request: PageRequest) -> Page[Run]:
        """Return a page of the runs, newest first. Errors: Forbidden."""
        require_role(principal, Role.FINANCE)
        async with self._begin() as tx:
            return await tx.reconciliations.page(request)

    async def report(self, principal: Principal, run_id: ReconciliationId) -> Report:
        """Return a run with what it found. Errors: Forbidden, NotFound."""
        require_role(principal, Role.FINANCE)
        return await self.read(run_id)

    async def read(self, run_id: ReconciliationId) -> Report:
        """Return a run with what it found, for an operator. Errors: NotFound."""
        async with self._begin() as tx:
            report = await tx.reconciliations.report(run_id, self._clock.now())
        if report is None:
            raise NotFound("there is no such reconciliation", code="reconciliation_not_found")
        return report

    async def exceptions(
        self,
        principal: Principal,
        run_id: ReconciliationId,
        request: PageRequest,
        status: ExceptionStatus | None = None,
    ) -> Page[ReconciliationException]:
        """Return a page of what a run found, newest first. Errors: Forbidden, NotFound."""
        await self.report(principal, run_id)
        async with self._begin() as tx:
            return await tx.reconciliations.exceptions(run_id, request, status)

    async def full_report(
        self, principal: Principal, run_id: ReconciliationId, *, limit: int
    ) -> tuple[Report, Sequence[ReconciliationException]]:
        """Return a run with its oldest exceptions, the open ones first. Errors: Forbidden, NotFound."""
        report = await self.report(principal, run_id)
        async with self._begin() as tx:
            return report, await tx.reconciliations.oldest_exceptions(run_id, limit)

    async def resolve(
        self,
        principal: Principal,
        run_id: ReconciliationId,
        exception_id: ExceptionId,
        reason: str,
        correction: Correction | None,
    ) -> ReconciliationException:
        """Close an open exception for a reason, with a correcting journal if one is wanted; all or nothing.

        What is resolved can be resolved again: so a correction that was wrong is taken back. The same resolution
        by the same person once more changes nothing, so a retry is safe. Errors: Forbidden, NotFound; Conflict
        `exception_closed` where both sides agree by now, `correction_booked` where somebody has booked the same
        for it, or moved the same on `stripe_balance`; Invalid `correction_invalid`, also for an account that the
        ledger has not, and for that of a seller whom nobody knows, `amount_out_of_range` above
        MAX_CORRECTION_MINOR. Locks the exception, then the accounts of sellers whom the correction debits.
        """
        require_role(principal, Role.FINANCE)
        try:
            return await self._resolve(principal, run_id, exception_id, reason, correction)
        except Refused as error:
            raise Invalid("the ledger refuses the correction", code="correction_invalid") from error

    async def _resolve(
        self,
        principal: Principal,
        run_id: ReconciliationId,
        exception_id: ExceptionId,
        reason: str,
        correction: Correction | None,
    ) -> ReconciliationException:
        now = self._clock.now()
        async with self._begin() as tx:
            exception = await tx.reconciliations.lock_exception(run_id, exception_id)
            if exception is None:
                raise NotFound("there is no such exception", code="exception_not_found")
            if exception.status not in _DECIDABLE:
                raise Conflict(f"the exception is {exception.status}", code="exception_closed")
            if await _is_repeated(tx, exception.resolution, principal.user_id, reason, correction):
                return exception
            if correction is not None and exception.status is ExceptionStatus.RESOLVED:
                await _refuse_again(tx, exception_id, correction)
            journal_id = await _book(tx, exception, correction, now) if correction is not None else None
            resolution = Resolution(principal.user_id, reason, now, journal_id)
            await tx.reconciliations.resolve(exception_id, resolution)
            told = event(
                "reconciliation.exception_resolved",
                exception_id,
                now,
                audience=(),
                resolved_by=principal.user_id,
                reason=reason,
                journal_id=journal_id,
            )
            await tx.events.append([told])
            await tx.commit()
        return replace(
            exception,
            status=ExceptionStatus.RESOLVED,
            closed_at=now,
            updated_at=now,
            resolution=resolution,
        )

    async def drift(self) -> Drift:
        """Return by how much ledger and Stripe differ since the last run."""
        async with self._begin() as tx:
            return await tx.reconciliations.drift()


async def _is_repeated(
    tx: ReconciliationTransaction,
    newest: Resolution | None,
    resolved_by: UserId,
    reason: str,
    correction: Correction | None,
) -> bool:
    """Tell whether a person decides what it has decided already: its request was repeated."""
    if newest is None or (newest.resolved_by, newest.reason) != (resolved_by, reason):
        return False
    booked = await tx.ledger.journal(newest.journal_id) if newest.journal_id is not None else None
    if booked is None or correction is None:
        return booked is None and correction is None
    return booked.currency == correction.currency and Counter(booked.entries) == Counter(correction.entries)


async def _refuse_again(tx: ReconciliationTransaction, exception_id: ExceptionId, correction: Correction) -> None:
    """Refuse to move once more what corrections of a resolved exception have moved.

    Two who work through one list mean the same movement at Stripe, whatever reason or other side they name. What
    moves nothing there is the same where its entries are, unless it was taken back since.
    """
    booked = await tx.reconciliations.corrections(exception_id, correction.currency)
    moved_minor = _at_stripe(correction.entries)
    wanted = Counter(correction.entries)
    either = [each for each in map(Counter, booked) if each in (wanted, Counter(undo(correction.entries)))]
    if either[-1:] == [wanted] or (moved_minor and moved_minor == sum(map(_at_stripe, booked))):
        raise Conflict(
            "the same correction is booked for the exception: to change it, take that back first",
            code="correction_booked",
        )


def _at_stripe(entries: Iterable[Entry]) -> int:
    return sum(entry.amount_minor for entry in entries if entry.account == STRIPE_BALANCE)


async def _book(
    tx: ReconciliationTransaction, exception: ReconciliationException, correction: Correction, now: datetime
) -> JournalId:
    """Post a correction, and tell each seller that comes to owe by it."""
    journal = _correcting(exception, correction, now)
    sellers = {UserId(UUID(owner)) for each in journal.entries if (owner := each.account.partition(":")[2])}
    if sellers - (await tx.users.seller_rates(sorted(sellers))).keys():
        raise Invalid("there is no such seller", code="correction_invalid")
    await tx.ledger.post([journal])
    await tell_owing(tx, [journal], now)
    return journal.id


def _correcting(exception: ReconciliationException, correction: Correction, now: datetime) -> Journal:
    entries = tuple(correction.entries)
    if not all(is_account(entry.account) for entry in entries):
        raise Invalid("the ledger has no such account", code="correction_invalid")
    is_whole = len(entries) >= _LEGS and all(entry.amount_minor for entry in entries)
    if not is_whole or sum(entry.amount_minor for entry in entries) != 0:
        raise Invalid("debits and credits of a correction are equal", code="correction_invalid")
    if sum(entry.amount_minor for entry in entries if entry.amount_minor > 0) > MAX_CORRECTION_MINOR:
        raise Invalid(f"a correction moves at most {MAX_CORRECTION_MINOR} minor units", code="amount_out_of_range")
    if correction.currency not in SETTLED_CURRENCIES:
        raise Invalid(f"Stripe settles nothing in {correction.currency}", code="currency_unsupported")
    journal_id = JournalId(uuid7())
    return Journal(
        id=journal_id,
        kind=JournalKind.CORRECTION,
        # What is corrected may be corrected again.
        source=f"{exception.id}:{journal_id}",
        payment_id=exception.payment_id,
        currency=correction.currency,
        entries=entries,
        created_at=now,
    )
