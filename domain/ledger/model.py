"""The double-entry ledger: accounts, entries and the journals that hold them together."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

from domain.ids import JournalId, PaymentId, UserId

Account = NewType("Account", str)

STRIPE_BALANCE = Account("stripe_balance")
"""Asset: what Stripe holds for the platform."""
COMMISSION_REVENUE = Account("commission_revenue")
"""Revenue: the platform's commissions."""
PROCESSING_FEES = Account("processing_fees")
"""Expense: Stripe's fees that the platform bears."""
UNAPPLIED_CHARGES = Account("unapplied_charges")
"""Liability: captured money that pays for nothing and goes back to the payer."""


def seller_payable(seller_id: UserId) -> Account:
    """Return the liability account of what the platform owes to a seller."""
    return Account(f"seller_payable:{seller_id}")


class JournalKind(StrEnum):
    """Why money moved; with the source it names a journal once and for all."""

    CHARGE = "charge"
    STRIPE_FEE = "stripe_fee"
    REFUND = "refund"
    REFUND_FAILED = "refund_failed"
    UNAPPLIED_CHARGE = "unapplied_charge"
    UNAPPLIED_REFUND = "unapplied_refund"


@dataclass(frozen=True, slots=True)
class Entry:
    """One leg of a journal: a debit is positive, a credit negative, in minor units."""

    account: Account
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Journal:
    """Entries of one currency that sum to zero; `source` names what caused them, here or at Stripe."""

    id: JournalId
    kind: JournalKind
    source: str
    payment_id: PaymentId | None
    currency: str
    entries: tuple[Entry, ...]
    created_at: datetime

    def __post_init__(self) -> None:
        """Hold what must be true of any journal; the database holds it too."""
        assert len(self.entries) > 1, "a journal has two legs at least"  # noqa: S101 - a programming error
        assert all(entry.amount_minor for entry in self.entries)  # noqa: S101 - the same
        assert sum(entry.amount_minor for entry in self.entries) == 0  # noqa: S101 - the same


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account holds in one currency; debits positive, in minor units."""

    account: Account
    currency: str
    balance_minor: int


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
