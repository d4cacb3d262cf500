"""The double-entry ledger: accounts, entries and the journals that hold them together."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple, NewType
from uuid import UUID

from domain.ids import JournalId, PaymentId, UserId

Account = NewType("Account", str)

STRIPE_BALANCE = Account("stripe_balance")
"""Asset: what Stripe holds for the platform."""
COMMISSION_REVENUE = Account("commission_revenue")
"""Revenue: the platform's commissions."""
PROCESSING_FEES = Account("processing_fees")
"""Expense: Stripe's fees that the platform bears."""
BANK = Account("bank")
"""Asset: what Stripe has paid out to the platform's own bank account."""
UNAPPLIED_CHARGES = Account("unapplied_charges")
"""Liability: captured money that pays for nothing and goes back to the payer."""

DISPUTED_FUNDS = Account("disputed_funds")
"""Asset: what Stripe has withdrawn for disputes and gives back if they are won."""

CURRENCY_CONVERSION = Account("currency_conversion")
"""The platform's part of what Stripe exchanged: booked in the currency of the charge, held in another."""


def seller_payable(seller_id: UserId) -> Account:
    """Return the liability account of what the platform owes to a seller."""
    return Account(f"seller_payable:{seller_id}")


def seller_disputed(seller_id: UserId) -> Account:
    """Return the liability account of what a seller gets back if its disputes are won."""
    return Account(f"seller_disputed:{seller_id}")


_OF_PLATFORM = frozenset(
    {
        STRIPE_BALANCE,
        COMMISSION_REVENUE,
        PROCESSING_FEES,
        BANK,
        UNAPPLIED_CHARGES,
        DISPUTED_FUNDS,
        CURRENCY_CONVERSION,
    }
)


def is_account(name: str) -> bool:
    """Whether an account can have that name: it is one of the platform's, or of any seller."""
    prefix, has_seller, seller_id = name.partition(":")
    if not has_seller:
        return name in _OF_PLATFORM
    try:
        return prefix in {"seller_payable", "seller_disputed"} and str(UUID(seller_id)) == seller_id
    except ValueError:
        return False


def seller_of(account: Account) -> UserId | None:
    """Return the seller of a `seller_payable` account; None for every other account."""
    prefix, _, seller_id = account.partition(":")
    return UserId(UUID(seller_id)) if prefix == "seller_payable" else None


def is_disputed_share(account: Account) -> bool:
    """Whether an account is a `seller_disputed` one."""
    return account.startswith("seller_disputed:")


class JournalKind(StrEnum):
    """Why money moved. No two journals have the same kind and source."""

    CHARGE = "charge"
    STRIPE_FEE = "stripe_fee"
    REFUND = "refund"
    REFUND_FAILED = "refund_failed"
    DISPUTE_OPENED = "dispute_opened"
    DISPUTE_FEE = "dispute_fee"
    DISPUTE_WON = "dispute_won"
    DISPUTE_LOST = "dispute_lost"
    REFUND_FEE = "refund_fee"
    CONVERSION_CHARGED = "conversion_charged"
    CONVERSION_SETTLED = "conversion_settled"
    CONVERSION_FEE = "conversion_fee"
    """No longer posted: what sellers bore of a fee in the currency of their charge."""
    PAYOUT = "payout"
    PAYOUT_REVERSED = "payout_reversed"
    BANK_PAYOUT = "bank_payout"
    BANK_PAYOUT_FEE = "bank_payout_fee"
    BANK_PAYOUT_RETURNED = "bank_payout_returned"
    UNAPPLIED_CHARGE = "unapplied_charge"
    UNAPPLIED_REFUND = "unapplied_refund"
    CORRECTION = "correction"


@dataclass(frozen=True, slots=True)
class Entry:
    """One leg of a journal: a debit is positive, a credit negative, in minor units."""

    account: Account
    amount_minor: int


class EntryRef(NamedTuple):
    """Which entry of the ledger: the journal that holds it, and its line there, from 1."""

    journal_id: JournalId
    line: int


@dataclass(frozen=True, slots=True)
class Conversion:
    """An exchange by Stripe: what left one currency, what came into another, and the rate, if Stripe named it."""

    from_currency: str
    from_minor: int
    to_currency: str
    to_minor: int
    exchange_rate: Decimal | None


@dataclass(frozen=True, slots=True)
class Journal:
    """Entries of one currency that sum to zero; `source` names what caused them, here or at Stripe.

    `conversion` has both sides of an exchange, on the journal of its first half.
    """

    id: JournalId
    kind: JournalKind
    source: str
    payment_id: PaymentId | None
    currency: str
    entries: tuple[Entry, ...]
    created_at: datetime
    conversion: Conversion | None = None

    def __post_init__(self) -> None:
        """Check what must be true of any journal; the database checks it too."""
        assert len(self.entries) > 1, "a journal has two entries at least"  # noqa: S101 - a programming error
        assert all(entry.amount_minor for entry in self.entries)  # noqa: S101 - the same
        assert sum(entry.amount_minor for entry in self.entries) == 0  # noqa: S101 - the same


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account holds in one currency; debits positive, in minor units."""

    account: Account
    currency: str
    balance_minor: int


@dataclass(frozen=True, slots=True)
class CurrencyTotal:
    """The two sides of the books in one currency, in minor units; they are equal."""

    currency: str
    debit_minor: int
    credit_minor: int


@dataclass(frozen=True, slots=True)
class TrialBalance:
    """Balances, sorted by account and currency, and the totals over all, as a snapshot saw them."""

    balances: Sequence[Balance]
    totals: Sequence[CurrencyTotal]
    snapshot: str
    """As PostgreSQL writes it: `xmin:xmax:` and the numbers of the transactions under way between them."""


@dataclass(frozen=True, slots=True)
class Begun:
    """The trial balance of which another page is read: what a snapshot saw, when its first page was read.

    What was posted before and is committed after it is on none of its pages.
    """

    read_at: datetime
    snapshot: str


@dataclass(frozen=True, slots=True)
class LedgerFault:
    """Something that a recomputation of the whole ledger found wrong."""

    what: str
    where: str


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of recomputing the ledger from its entries."""

    journals: int
    entries: int
    totals: Sequence[Balance]
    faults: Sequence[LedgerFault]
