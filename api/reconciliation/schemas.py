"""What `/v1/reconciliations` takes and gives."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import ConfigDict, Field, model_validator

from api.schemas import AmountMinor, AnswerModel, PageAnswer, PageQuery, RequestModel, SettledCurrency, Text, Time
from domain.ledger.model import Account, Entry
from domain.reconciliation.desk import Correction
from domain.reconciliation.model import (
    BreakKind,
    ExceptionStatus,
    ReconciliationException,
    Report,
    Run,
    RunStatus,
    Statement,
)

_MAX_ENTRIES = 100

Moment = Annotated[Time, Field(description="RFC 3339, in whole seconds")]


class PeriodBody(RequestModel):
    """The period: what Stripe moved from `from` until before `to`; without them the day before `to`, until now."""

    from_at: Annotated[Moment | None, Field(alias="from", examples=["2026-11-01T00:00:00Z"])] = None
    to_at: Annotated[Moment | None, Field(alias="to", examples=["2026-11-02T00:00:00Z"])] = None


class CorrectingEntryBody(RequestModel):
    """One leg: `debit_minor` or `credit_minor`."""

    account: Annotated[Text, Field(min_length=1, max_length=100, examples=["stripe_balance"])]
    debit_minor: AmountMinor | None = None
    credit_minor: AmountMinor | None = None

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        if (self.debit_minor is None) == (self.credit_minor is None):
            raise ValueError("give debit_minor or credit_minor")
        return self

    def entry(self) -> Entry:
        """Return the leg."""
        return Entry(Account(self.account), self.debit_minor or -(self.credit_minor or 0))


class CorrectionBody(RequestModel):
    """A journal that corrects; its debits equal its credits."""

    currency: SettledCurrency
    entries: Annotated[list[CorrectingEntryBody], Field(min_length=2, max_length=_MAX_ENTRIES)]

    def correction(self) -> Correction:
        """Return what is wanted."""
        return Correction(self.currency, [entry.entry() for entry in self.entries])


class ResolutionBody(RequestModel):
    """Why an exception is closed, and what is booked for it."""

    reason: Annotated[Text, Field(min_length=1, max_length=1000, examples=["Stripe credits it in December"])]
    correction: CorrectionBody | None = None


class ExceptionQuery(PageQuery):
    """Which page of the exceptions, and of which state."""

    status: ExceptionStatus | None = Field(default=None, description="exceptions of this state alone")


class RunAnswer(AnswerModel):
    """A reconciliation."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    id: UUID
    status: RunStatus
    from_at: Annotated[datetime, Field(alias="from")]
    to_at: Annotated[datetime, Field(alias="to")]
    is_nightly: bool
    requested_by: UUID | None
    lines: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, run: Run) -> "RunAnswer":
        """Render a run."""
        return cls(**{name: getattr(run, name) for name in cls.model_fields})


class RunPage(PageAnswer[RunAnswer]):
    """A page of reconciliations."""


class TotalAnswer(AnswerModel):
    """What one category came to in one currency; fees are beside the amounts."""

    category: str
    currency: str
    lines: int
    stripe_minor: int
    stripe_fee_minor: int
    ledger_minor: int
    ledger_fee_minor: int
    difference_minor: int


class DayAnswer(AnswerModel):
    """What one day changed in one currency, fees taken."""

    day: date
    currency: str
    stripe_minor: int
    ledger_minor: int


class StandingAnswer(AnswerModel):
    """Both balances at one moment; `unexplained_minor` is 0, or the books do not tie."""

    stripe_minor: int
    ledger_minor: int
    difference_minor: int
    in_transit_minor: int
    exceptions_minor: int
    unexplained_minor: int


class CurrencyBalanceAnswer(AnswerModel):
    """The balances at both ends of the period."""

    currency: str
    opening: StandingAnswer
    closing: StandingAnswer


class StatementAnswer(AnswerModel):
    """What the run added up at its end."""

    ties: bool
    totals: Sequence[TotalAnswer]
    days: Sequence[DayAnswer]
    balances: Sequence[CurrencyBalanceAnswer]

    @classmethod
    def of(cls, statement: Statement) -> "StatementAnswer":
        """Render a statement."""
        return cls.model_validate(statement, from_attributes=True)


class ExceptionCountAnswer(AnswerModel):
    """How many exceptions of a kind were found, by what became of them."""

    kind: BreakKind
    status: ExceptionStatus
    count: int


class AgeAnswer(AnswerModel):
    """How many of the exceptions have been open for so many days, up to the next band."""

    days: int
    count: int


class ReportAnswer(RunAnswer):
    """A reconciliation with what it found; `statement` is null until it has ended."""

    statement: StatementAnswer | None
    exceptions: Sequence[ExceptionCountAnswer]
    open_by_age: Sequence[AgeAnswer]

    @classmethod
    def of_report(cls, report: Report) -> "ReportAnswer":
        """Render a report."""
        return cls(
            **{name: getattr(report.run, name) for name in RunAnswer.model_fields},
            statement=StatementAnswer.of(report.statement) if report.statement is not None else None,
            exceptions=[ExceptionCountAnswer.model_validate(each, from_attributes=True) for each in report.counts],
            open_by_age=[AgeAnswer.model_validate(each, from_attributes=True) for each in report.ages],
        )


class StripeSideAnswer(AnswerModel):
    """What Stripe says; `contents_minor` is what the transactions that it lists in a payout come to."""

    transaction_id: str
    source: str | None
    amount_minor: int
    fee_minor: int
    currency: str
    created_at: datetime
    contents_minor: int | None
    url: str | None


class LedgerSideAnswer(AnswerModel):
    """What the ledger says; the amounts are null where its journals are of several currencies."""

    journal_ids: Sequence[UUID]
    amount_minor: int | None
    fee_minor: int | None
    currency: str | None
    created_at: datetime | None
    urls: Sequence[str]


class ResolutionAnswer(AnswerModel):
    """Who closed it, and why."""

    resolved_by: UUID
    reason: str
    resolved_at: datetime
    journal_id: UUID | None


class ExceptionAnswer(AnswerModel):
    """A movement on which ledger and Stripe do not agree. A side that knows nothing of it is null."""

    id: UUID
    kind: BreakKind
    status: ExceptionStatus
    category: str
    stripe: StripeSideAnswer | None
    ledger: LedgerSideAnswer | None
    payment_id: UUID | None
    suggested_action: str
    opened_at: datetime
    updated_at: datetime
    closed_at: datetime | None
    closed_by: UUID | None
    resolution: ResolutionAnswer | None

    @classmethod
    def of(cls, found: ReconciliationException) -> "ExceptionAnswer":
        """Render an exception."""
        same = {name: getattr(found, name) for name in cls.model_fields if name not in _MADE}
        resolution = found.resolution
        return cls(
            **same,
            stripe=_stripe_side(found),
            ledger=_ledger_side(found),
            resolution=ResolutionAnswer.model_validate(resolution, from_attributes=True) if resolution else None,
        )


_MADE = {"stripe", "ledger", "resolution"}


class ExceptionPage(PageAnswer[ExceptionAnswer]):
    """A page of exceptions."""


def _stripe_side(found: ReconciliationException) -> StripeSideAnswer | None:
    if found.stripe_transaction_id is None:
        return None
    return StripeSideAnswer(
        transaction_id=found.stripe_transaction_id,
        source=found.stripe_source,
        amount_minor=found.stripe_amount_minor or 0,
        fee_minor=found.stripe_fee_minor or 0,
        currency=found.stripe_currency or "",
        created_at=found.stripe_created_at or found.opened_at,
        contents_minor=found.contents_minor,
        url=f"https://dashboard.stripe.com/search?query={found.stripe_source}" if found.stripe_source else None,
    )


def _ledger_side(found: ReconciliationException) -> LedgerSideAnswer | None:
    if not found.journal_ids:
        return None
    return LedgerSideAnswer(
        journal_ids=found.journal_ids,
        amount_minor=found.ledger_amount_minor,
        fee_minor=found.ledger_fee_minor,
        currency=found.ledger_currency,
        created_at=found.ledger_created_at,
        urls=[f"/v1/ledger/journals/{journal_id}" for journal_id in found.journal_ids],
    )
