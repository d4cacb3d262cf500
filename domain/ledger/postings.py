"""The posting rules: which accounts each movement of money debits and credits.

| kind               | debit                               | credit                                         |
|--------------------|-------------------------------------|------------------------------------------------|
| `charge`           | `stripe_balance`, what was captured | `seller_payable`, each seller's share          |
|                    |                                     | `commission_revenue`, the rest                 |
| `stripe_fee`       | `seller_payable` or                 | `stripe_balance`                               |
|                    | `processing_fees`                   |                                                |
| `refund`           | `seller_payable`, each seller's     | `stripe_balance`, what went back               |
|                    | part; `commission_revenue`, its     |                                                |
|                    | proportion of each                  |                                                |
| `refund_failed`    | `stripe_balance`                    | what the refund debited                        |
| `dispute_opened`   | `disputed_funds`, what was          | `stripe_balance`, the same                     |
|                    | withdrawn; `seller_payable`, each   | `seller_disputed`, each part                   |
|                    | seller's part                       |                                                |
| `dispute_fee`,     | as `stripe_fee`                     | `stripe_balance`                               |
| `refund_fee`       |                                     |                                                |
| `dispute_won`      | what `dispute_opened` credited      | what `dispute_opened` debited                  |
| `dispute_lost`     | `seller_disputed`, each part        | `disputed_funds`                               |
|                    | `commission_revenue`, its           |                                                |
|                    | proportion of each                  |                                                |
| `conversion_charged` | `seller_payable`, each share, and | `stripe_balance`, in the currency of the       |
|                    | `currency_conversion`, the rest     | charge                                         |
| `conversion_settled` | `stripe_balance`, in the currency | `seller_payable`, its proportion, and          |
|                    | that Stripe settled in              | `currency_conversion`, the rest                |
| `payout`           | `seller_payable`, what is           | `stripe_balance`                               |
|                    | transferred to the seller           |                                                |
| `payout_reversed`  | `stripe_balance`, what is taken     | `seller_payable`                               |
|                    | back of it                          |                                                |
| `bank_payout`      | `bank`, what Stripe pays out to the | `stripe_balance`                               |
|                    | platform itself                     |                                                |
| `bank_payout_fee`  | `processing_fees`                   | `stripe_balance`                               |
| `bank_payout_returned` | `stripe_balance`, what the bank | `bank`                                         |
|                    | has not taken                       |                                                |
| `unapplied_charge` | `stripe_balance`                    | `unapplied_charges`                            |
| `unapplied_refund` | `unapplied_charges`                 | `stripe_balance`                               |

Each has a worked example in `tests/domain/ledger/test_postings.py`.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from domain.ids import UserId
from domain.ledger.model import (
    BANK,
    COMMISSION_REVENUE,
    CURRENCY_CONVERSION,
    DISPUTED_FUNDS,
    PROCESSING_FEES,
    STRIPE_BALANCE,
    UNAPPLIED_CHARGES,
    Account,
    Entry,
    is_disputed_share,
    seller_disputed,
    seller_of,
    seller_payable,
)
from domain.money import allocate, commission_minor


@dataclass(frozen=True, slots=True)
class Share:
    """A line of what was sold: whose it is, what it costs, and the commission on it."""

    seller_id: UserId
    amount_minor: int
    commission_bps: int


@dataclass(frozen=True, slots=True)
class Part:
    """What falls on a line (counted from 1): whose it is, how much, and how much of that is commission."""

    line: int
    seller_id: UserId
    amount_minor: int
    commission_minor: int


def split_charge(captured_minor: int, shares: Sequence[Share]) -> list[Part]:
    """Split a captured amount over the lines, and each line between its seller and the commission.

    A partial capture falls on the lines in proportion. Commission is rounded half-even per line, the seller's
    share is the remainder, so no minor unit is lost.
    """
    amounts = allocate(captured_minor, [share.amount_minor for share in shares])
    return [
        Part(line, share.seller_id, amount_minor, commission_minor(amount_minor, share.commission_bps))
        for line, (share, amount_minor) in enumerate(zip(shares, amounts, strict=True), 1)
    ]


def take(amount_minor: int, left: Sequence[Part]) -> list[Part]:
    """Take an amount out of what is left: in proportion from each line, and there from seller and commission.

    What takes all that is left takes every remainder with it, so the parts of many takings add up to what there
    was. Lines of which nothing is taken are left out.
    """
    taken = []
    for part, amount in zip(left, allocate(amount_minor, [part.amount_minor for part in left]), strict=True):
        if amount:
            _, commission = allocate(amount, [part.amount_minor - part.commission_minor, part.commission_minor])
            taken.append(Part(part.line, part.seller_id, amount, commission))
    return taken


def post_charge(captured_minor: int, shares: Sequence[Share]) -> tuple[Entry, ...]:
    """Book what was captured: each seller is owed its share, the rest is commission."""
    owed = _by_account(split_charge(captured_minor, shares))
    return _entries((STRIPE_BALANCE, captured_minor), *((account, -minor) for account, minor in owed.items()))


def post_refund(parts: Sequence[Part]) -> tuple[Entry, ...]:
    """Book what went back to the payer, at the cost of the sellers and of the commission, as it was shared.

    A seller who was paid out already owes its part from then on: its account may go below zero.
    """
    taken = _by_account(parts)
    return _entries(*taken.items(), (STRIPE_BALANCE, -sum(part.amount_minor for part in parts)))


def undo(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Return the entries that cancel others."""
    return tuple(Entry(entry.account, -entry.amount_minor) for entry in entries)


def post_stripe_fee(fee_minor: int, shares: Sequence[Share], *, seller_bears: bool) -> tuple[Entry, ...]:
    """Take Stripe's fee out of its balance, at the cost of the sellers (by line) or of the platform."""
    if not seller_bears:
        return _entries((PROCESSING_FEES, fee_minor), (STRIPE_BALANCE, -fee_minor))
    return _entries(*_fee_by_seller(fee_minor, shares).items(), (STRIPE_BALANCE, -fee_minor))


def post_conversion(settled_minor: int, shares: Sequence[Entry] = ()) -> tuple[Entry, ...]:
    """Book one half of an exchange: what enters Stripe's balance in one currency, or leaves it if negative.

    What the sellers are owed of it, or owe, goes along; the rest is the platform's.
    """
    rest_minor = settled_minor + sum(share.amount_minor for share in shares)
    owed = ((share.account, share.amount_minor) for share in shares)
    return _entries((STRIPE_BALANCE, settled_minor), *owed, (CURRENCY_CONVERSION, -rest_minor))


def seller_entries(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Return the entries of a journal that touch what sellers are owed."""
    return tuple(entry for entry in entries if seller_of(entry.account) is not None)


def exchange_shares(shares: Sequence[Entry], moved_minor: int, settled_minor: int) -> tuple[Entry, ...]:
    """Return the sellers' entries of a movement, in the currency in which it was settled.

    What was settled is divided among sellers and platform as what was moved, by largest remainder. So nothing is
    lost, and the rate is Stripe's.
    """
    weights = [abs(share.amount_minor) for share in shares]
    *exchanged, _ = allocate(abs(settled_minor), [*weights, abs(moved_minor) - sum(weights)])
    sign = -1 if settled_minor > 0 else 1
    return tuple(
        Entry(share.account, sign * minor) for share, minor in zip(shares, exchanged, strict=True) if minor
    )


def post_dispute_opened(withdrawn_minor: int, parts: Sequence[Part]) -> tuple[Entry, ...]:
    """Book what Stripe withdrew for a dispute: each seller's part is held until the dispute is decided.

    The commission stays until the dispute is lost. Money that paid for nothing has no parts. A seller who was paid
    out already owes its part from then on: its account may go below zero.
    """
    held: defaultdict[UserId, int] = defaultdict(int)
    for part in parts:
        held[part.seller_id] += part.amount_minor - part.commission_minor
    moved = [
        entry
        for seller_id, minor in held.items()
        for entry in ((seller_payable(seller_id), minor), (seller_disputed(seller_id), -minor))
    ]
    return _entries((DISPUTED_FUNDS, withdrawn_minor), (STRIPE_BALANCE, -withdrawn_minor), *moved)


def post_dispute_won(opened: Sequence[Entry]) -> tuple[Entry, ...]:
    """Book that disputed money came back: the withdrawal is undone."""
    return undo(opened)


def post_dispute_lost(opened: Sequence[Entry], rest_to: Account) -> tuple[Entry, ...]:
    """Book that disputed money is lost: the sellers lose what was held of theirs, `rest_to` bears the rest."""
    held = [entry for entry in opened if is_disputed_share(entry.account)]
    withdrawn_minor = sum(entry.amount_minor for entry in opened if entry.account == DISPUTED_FUNDS)
    rest_minor = withdrawn_minor + sum(entry.amount_minor for entry in held)
    return _entries(
        *((entry.account, -entry.amount_minor) for entry in held),
        (rest_to, rest_minor),
        (DISPUTED_FUNDS, -withdrawn_minor),
    )


def post_lost_dispute_won(opened: Sequence[Entry], rest_to: Account) -> tuple[Entry, ...]:
    """Book that the money of a lost dispute came back after all: loss and withdrawal are undone."""
    sums: defaultdict[Account, int] = defaultdict(int)
    for entry in (*undo(opened), *undo(post_dispute_lost(opened, rest_to))):
        sums[entry.account] += entry.amount_minor
    return _entries(*sums.items())


def post_payout(amount_minor: int, seller_id: UserId, *, carried_minor: int = 0) -> tuple[Entry, ...]:
    """Book a transfer to a seller's account at Stripe: that much less is owed to it.

    The first entry closes the shares that the payout takes; `carried_minor` of them Stripe could not move, and it
    stays owed.
    """
    owed = seller_payable(seller_id)
    return _entries((owed, amount_minor + carried_minor), (STRIPE_BALANCE, -amount_minor), (owed, -carried_minor))


def post_payout_reversed(amount_minor: int, seller_id: UserId) -> tuple[Entry, ...]:
    """Book that a transfer, or a part of it, was taken back: it is owed to the seller again."""
    return _entries((STRIPE_BALANCE, amount_minor), (seller_payable(seller_id), -amount_minor))


def post_bank_payout(moved_minor: int) -> tuple[Entry, ...]:
    """Book what a payout to the platform's own bank did to the balance at Stripe.

    It is negative when money left for the bank, and positive when it came back because the bank did not take it.
    """
    return _entries((BANK, -moved_minor), (STRIPE_BALANCE, moved_minor))


def post_unapplied_charge(captured_minor: int) -> tuple[Entry, ...]:
    """Book captured money that pays for nothing: it is owed back to the payer."""
    return _entries((STRIPE_BALANCE, captured_minor), (UNAPPLIED_CHARGES, -captured_minor))


def post_unapplied_refund(refunded_minor: int) -> tuple[Entry, ...]:
    """Book the return of captured money that paid for nothing."""
    return _entries((UNAPPLIED_CHARGES, refunded_minor), (STRIPE_BALANCE, -refunded_minor))


def _fee_by_seller(fee_minor: int, shares: Sequence[Share]) -> dict[Account, int]:
    debits: defaultdict[Account, int] = defaultdict(int)
    parts = allocate(fee_minor, [share.amount_minor for share in shares])
    for share, part in zip(shares, parts, strict=True):
        debits[seller_payable(share.seller_id)] += part
    return debits


def _by_account(parts: Sequence[Part]) -> dict[Account, int]:
    """Add parts up: what falls on each seller and on the commission."""
    sums: defaultdict[Account, int] = defaultdict(int)
    for part in parts:
        sums[seller_payable(part.seller_id)] += part.amount_minor - part.commission_minor
        sums[COMMISSION_REVENUE] += part.commission_minor
    return sums


def _entries(*amounts: tuple[Account, int]) -> tuple[Entry, ...]:
    return tuple(Entry(account, minor) for account, minor in amounts if minor)
