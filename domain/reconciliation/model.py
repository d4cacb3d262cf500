"""What a reconciliation compares, and what becomes of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from domain.ids import ExceptionId, JournalId, PaymentId, ReconciliationId, UserId
from domain.ledger.model import JournalKind


class RunStatus(StrEnum):
    """Where a reconciliation stands."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"


class Step(StrEnum):
    """What a run does next; each step works in pages and remembers the page it was at."""

    LISTING = "listing"
    UNPACKING = "unpacking"
    CHECKING = "checking"
    MENDING = "mending"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Run:
    """A reconciliation of what Stripe moved from `from_at` until before `to_at`.

    `cursor` is where its step is: an id of Stripe's (within a payout, that of the payout before it), of a journal
    or of an exception. `listed_from_at` is where
    what earlier runs know of Stripe ends, if that is before the period: what lies between is compared too, or the
    opening balance would not tie. `lease_until` is the lease under which it is worked at.
    """

    id: ReconciliationId
    status: RunStatus
    step: Step
    from_at: datetime
    to_at: datetime
    created_at: datetime
    updated_at: datetime
    requested_by: UserId | None = None
    is_nightly: bool = False
    listed_from_at: datetime | None = None
    cursor: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    lines: int = 0
    lease_until: datetime | None = None


class BreakKind(StrEnum):
    """How ledger and Stripe can disagree."""

    MISSING_IN_LEDGER = "missing_in_ledger"
    MISSING_AT_STRIPE = "missing_at_stripe"
    AMOUNT_MISMATCH = "amount_mismatch"
    CURRENCY_MISMATCH = "currency_mismatch"
    FEE_MISMATCH = "fee_mismatch"
    DUPLICATE = "duplicate"
    LATE = "late"
    UNKNOWN_SOURCE = "unknown_source"


SUGGESTED_ACTIONS = {
    BreakKind.MISSING_IN_LEDGER: "It is ours and nothing is booked: replay its webhook, or look at the quarantine "
    "of its payment.",
    BreakKind.MISSING_AT_STRIPE: "Stripe does not list what we have booked: ask Stripe's support with the source; "
    "if it never moved, take the journal back with a correction.",
    BreakKind.AMOUNT_MISMATCH: "Compare the object at Stripe with the journal; correct the difference.",
    BreakKind.CURRENCY_MISMATCH: "Stripe settled in another currency than the journal says: check the exchange, "
    "then correct both currencies.",
    BreakKind.FEE_MISMATCH: "Compare the fee details of the balance transaction with the fee that is booked; "
    "correct the difference.",
    BreakKind.DUPLICATE: "One cause moved money twice: refund or report the second movement, then correct; or it "
    "is booked by two journals: take one back with a correction.",
    BreakKind.LATE: "In transit: the other side has time until the grace is over.",
    BreakKind.UNKNOWN_SOURCE: "No payment of ours caused it: find out who uses the account, or book it with a "
    "correction.",
}
"""What a person should do about each kind."""

_ACTIONS_BY_CATEGORY = {
    (
        BreakKind.MISSING_IN_LEDGER,
        "transfer",
    ): "A transfer is booked with its payout. Where the payout of its metadata "
    "exists, look at its quarantine; where it does not, as after a restore, nothing brings it back: debit "
    "seller_payable of the seller in the metadata with a correction, before that seller is paid again.",
    (BreakKind.MISSING_IN_LEDGER, "transfer_reversal"): "A reversal is booked with its payout. Where the payout "
    "exists, replay transfer.reversed; where it does not, credit seller_payable of the transfer's seller with a "
    "correction.",
    (
        BreakKind.MISSING_IN_LEDGER,
        "payout",
    ): "A payout to our bank that Stripe did not show when mending asked for "
    "it: compare again, then book it with a correction.",
    (
        BreakKind.MISSING_IN_LEDGER,
        "payout_reversal",
    ): "A payout that came back from our bank, which Stripe did not "
    "show when mending asked for it: compare again, then book it with a correction.",
    (BreakKind.AMOUNT_MISMATCH, "payout"): "Compare the payout with the transactions that Stripe lists in it, and "
    "ask Stripe's support for what is missing; correct what the journal has wrong.",
    (
        BreakKind.UNKNOWN_SOURCE,
        "charge",
    ): "No payment of ours caused it: refund it at Stripe, find out who uses the "
    "account, or book it with a correction.",
}
_TAKE_BACK = (
    "Both sides agree, and a correction is booked besides: resolve it with the reverse of what its corrections "
    "come to."
)


@dataclass(frozen=True, slots=True)
class StripeLine:
    """A balance transaction: `amount_minor` entered our balance at Stripe, and `fee_minor` left it.

    `source` is the object that caused it. What that says of whose it is stands beside it, as far as it says it.
    """

    id: str
    category: str
    source: str | None
    amount_minor: int
    fee_minor: int
    currency: str
    created_at: datetime
    payment_id: PaymentId | None = None
    charge_id: str | None = None
    intent_id: str | None = None

    @property
    def net_minor(self) -> int:
        """What it did to the balance."""
        return self.amount_minor - self.fee_minor


@dataclass(frozen=True, slots=True)
class BookedJournal:
    """A journal as reconciliation sees it: what it did to `stripe_balance`."""

    id: JournalId
    kind: JournalKind
    source: str
    currency: str
    balance_minor: int
    created_at: datetime
    payment_id: PaymentId | None = None


@dataclass(frozen=True, slots=True)
class LedgerSide:
    """What the ledger says of a line; the amount is None where it is of several currencies."""

    journals: tuple[BookedJournal, ...] = ()
    amount_minor: int | None = None
    fee_minor: int = 0
    currency: str | None = None

    @property
    def payment_id(self) -> PaymentId | None:
        """The payment that the journals are about."""
        return next((journal.payment_id for journal in self.journals if journal.payment_id is not None), None)


NOTHING_BOOKED = LedgerSide()


@dataclass(frozen=True, slots=True)
class Finding:
    """Both sides of one movement; `kind` is None where they agree. One of the sides may be missing.

    `contents_minor` is what the transactions in a payout come to, where Stripe lists them.
    """

    line: StripeLine | None
    ledger: LedgerSide
    kind: BreakKind | None
    contents_minor: int | None = None

    @property
    def key(self) -> str:
        """Name the movement, the same in every run."""
        return self.line.id if self.line is not None else str(self.ledger.journals[0].id)


class ExceptionStatus(StrEnum):
    """What became of an exception.

    `healed`: settled from Stripe's own record. `closed`: a later run found it matched. `resolved`: by a person.
    """

    OPEN = "open"
    HEALED = "healed"
    CLOSED = "closed"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a person decided on an exception, and why."""

    resolved_by: UserId
    reason: str
    resolved_at: datetime
    journal_id: JournalId | None = None


@dataclass(frozen=True, slots=True)
class ReconciliationException:
    """A movement on which ledger and Stripe do not agree, with both sides."""

    id: ExceptionId
    kind: BreakKind
    status: ExceptionStatus
    category: str
    stripe_transaction_id: str | None
    stripe_source: str | None
    stripe_amount_minor: int | None
    stripe_fee_minor: int | None
    stripe_currency: str | None
    stripe_created_at: datetime | None
    journal_ids: tuple[JournalId, ...]
    ledger_amount_minor: int | None
    ledger_fee_minor: int | None
    ledger_currency: str | None
    ledger_created_at: datetime | None
    payment_id: PaymentId | None
    opened_at: datetime
    updated_at: datetime
    closed_at: datetime | None = None
    closed_by: ReconciliationId | None = None
    contents_minor: int | None = None
    resolution: Resolution | None = None

    @property
    def suggested_action(self) -> str:
        """What to do about it."""
        stripe = self.stripe_amount_minor, self.stripe_fee_minor, self.stripe_currency
        ledger = self.ledger_amount_minor, self.ledger_fee_minor, self.ledger_currency
        if self.kind is BreakKind.DUPLICATE and stripe == ledger:
            return _TAKE_BACK
        return _ACTIONS_BY_CATEGORY.get((self.kind, self.category), SUGGESTED_ACTIONS[self.kind])


@dataclass(frozen=True, slots=True)
class Total:
    """What one category came to in one currency, fees beside it."""

    category: str
    currency: str
    lines: int
    stripe_minor: int
    stripe_fee_minor: int
    ledger_minor: int
    ledger_fee_minor: int

    @property
    def difference_minor(self) -> int:
        """How much more the ledger has."""
        return (self.ledger_minor - self.ledger_fee_minor) - (self.stripe_minor - self.stripe_fee_minor)


@dataclass(frozen=True, slots=True)
class DayTotal:
    """What one day changed in one currency, fees taken."""

    day: date
    currency: str
    stripe_minor: int
    ledger_minor: int


@dataclass(frozen=True, slots=True)
class Standing:
    """The two balances at one moment, and what explains that they differ.

    `in_transit_minor` is what one side had by then and the other later; `exceptions_minor` what the exceptions
    and corrections come to.
    """

    stripe_minor: int
    ledger_minor: int
    in_transit_minor: int
    exceptions_minor: int

    @property
    def difference_minor(self) -> int:
        """How much more the ledger has."""
        return self.ledger_minor - self.stripe_minor

    @property
    def unexplained_minor(self) -> int:
        """What nothing explains: zero, or the books do not tie."""
        return self.difference_minor - self.in_transit_minor - self.exceptions_minor


@dataclass(frozen=True, slots=True)
class CurrencyBalance:
    """The balances of one currency at both ends of the period."""

    currency: str
    opening: Standing
    closing: Standing


@dataclass(frozen=True, slots=True)
class AgeBand:
    """How many exceptions are open for how long; `days` is where the band begins."""

    days: int
    count: int


@dataclass(frozen=True, slots=True)
class Statement:
    """What a run has added up at its end."""

    totals: Sequence[Total] = ()
    days: Sequence[DayTotal] = ()
    balances: Sequence[CurrencyBalance] = ()

    @property
    def ties(self) -> bool:
        """Whether everything between the two balances is explained, at both ends."""
        return not any(
            standing.unexplained_minor for each in self.balances for standing in (each.opening, each.closing)
        )


@dataclass(frozen=True, slots=True)
class ExceptionCount:
    """How many exceptions of a kind a run found, by what became of them."""

    kind: BreakKind
    status: ExceptionStatus
    count: int


@dataclass(frozen=True, slots=True)
class Report:
    """A run with all that it found; its statement is there when it has ended."""

    run: Run
    statement: Statement | None
    counts: Sequence[ExceptionCount]
    ages: Sequence[AgeBand]


@dataclass(frozen=True, slots=True)
class Drift:
    """What operators watch: by how much the ledger differs from Stripe, for how long, since when nobody looked.

    What is in transit is no difference; what was decided is one, until it is booked.
    """

    differences: Sequence[tuple[str, int]]
    open_exceptions: int
    oldest_open_at: datetime | None
    succeeded_at: datetime | None
