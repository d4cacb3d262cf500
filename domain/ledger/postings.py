"""The posting rules: which accounts each movement of money debits and credits.

| kind               | debit                               | credit                                         |
|--------------------|-------------------------------------|------------------------------------------------|
| `charge`           | `stripe_balance`, what was captured | `seller_payable`, each seller's share          |
|                    |                                     | `commission_revenue`, the rest                 |
| `stripe_fee`       | `seller_payable` or                 | `stripe_balance`                               |
|                    | `processing_fees`                   |                                                |
| `unapplied_charge` | `stripe_balance`                    | `unapplied_charges`                            |
| `unapplied_refund` | `unapplied_charges`                 | `stripe_balance`                               |

Each has a worked example in `tests/domain/ledger/test_postings.py`.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from domain.ids import UserId
from domain.ledger.model import (
    COMMISSION_REVENUE,
    PROCESSING_FEES,
    STRIPE_BALANCE,
    UNAPPLIED_CHARGES,
    Account,
    Entry,
    seller_payable,
)
from domain.money import allocate, commission_minor


@dataclass(frozen=True, slots=True)
class Share:
    """A line of what was sold: whose it is, what it costs, and the commission on it."""

    seller_id: UserId
    amount_minor: int
    commission_bps: int


def post_charge(captured_minor: int, shares: Sequence[Share]) -> tuple[Entry, ...]:
    """Split a captured amount between the sellers and the commission.

    A partial capture falls on the lines in proportion. Commission is rounded half-even per line, the seller's
    share is the remainder, so no minor unit is lost.
    """
    amounts = allocate(captured_minor, [share.amount_minor for share in shares])
    owed_to: defaultdict[Account, int] = defaultdict(int)
    for share, amount_minor in zip(shares, amounts, strict=True):
        commission = commission_minor(amount_minor, share.commission_bps)
        owed_to[seller_payable(share.seller_id)] += amount_minor - commission
        owed_to[COMMISSION_REVENUE] += commission
    return _entries((STRIPE_BALANCE, captured_minor), *((name, -owed) for name, owed in owed_to.items()))


def post_stripe_fee(fee_minor: int, shares: Sequence[Share], *, seller_bears: bool) -> tuple[Entry, ...]:
    """Take Stripe's fee out of its balance, at the cost of the sellers (by line) or of the platform."""
    if not seller_bears:
        return _entries((PROCESSING_FEES, fee_minor), (STRIPE_BALANCE, -fee_minor))
    debits: defaultdict[Account, int] = defaultdict(int)
    parts = allocate(fee_minor, [share.amount_minor for share in shares])
    for share, part in zip(shares, parts, strict=True):
        debits[seller_payable(share.seller_id)] += part
    return _entries(*debits.items(), (STRIPE_BALANCE, -fee_minor))


def post_unapplied_charge(captured_minor: int) -> tuple[Entry, ...]:
    """Book captured money that pays for nothing: it is owed back to the payer."""
    return _entries((STRIPE_BALANCE, captured_minor), (UNAPPLIED_CHARGES, -captured_minor))


def post_unapplied_refund(refunded_minor: int) -> tuple[Entry, ...]:
    """Book the return of captured money that paid for nothing."""
    return _entries((UNAPPLIED_CHARGES, refunded_minor), (STRIPE_BALANCE, -refunded_minor))


def _entries(*legs: tuple[Account, int]) -> tuple[Entry, ...]:
    return tuple(Entry(account, amount) for account, amount in legs if amount)
