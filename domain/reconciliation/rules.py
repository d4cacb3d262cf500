"""The one table of which of Stripe's movements is which of our journals.

| reporting category | journals                          | named by        | fee           |
|--------------------|-----------------------------------|-----------------|---------------|
| `charge`           | `charge` or `unapplied_charge`    | the charge      | `stripe_fee`  |
| `refund`           | `refund` or `unapplied_refund`    | the refund      | `refund_fee`  |
| `refund_failure`   | `refund_failed`                   | the refund      | `refund_fee`  |
| `dispute`          | `dispute_opened`                  | the transaction | `dispute_fee` |
| `dispute_reversal` | `dispute_won`                     | the transaction | `dispute_fee` |
| `transfer`         | `payout`                          | the transfer    |               |
| `transfer_reversal` | `payout_reversed`                | the reversal    |               |

Fees and exchanges are always named by the balance transaction. The categories are Stripe's
(docs.stripe.com/reports/reporting-categories).
A movement of a category without a row is nobody's: `unknown_source`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from domain.ledger.model import JournalKind

BANK_PAYOUTS = "payout"
"""The category of what Stripe pays out from the platform's own balance."""


class Key(StrEnum):
    """What names the journal of a movement."""

    SOURCE = "source"
    TRANSACTION = "transaction"


@dataclass(frozen=True, slots=True)
class Rule:
    """The journals that one category of movements is booked by; one of `kinds`, and one of the fee.

    `is_always_ours` where nobody else moves money so: a movement that is not booked lacks its journal.
    """

    kinds: tuple[JournalKind, ...]
    key: Key
    fee_kind: JournalKind | None = None
    is_always_ours: bool = False


RULES: Mapping[str, Rule] = {
    "charge": Rule((JournalKind.CHARGE, JournalKind.UNAPPLIED_CHARGE), Key.SOURCE, JournalKind.STRIPE_FEE),
    "refund": Rule((JournalKind.REFUND, JournalKind.UNAPPLIED_REFUND), Key.SOURCE, JournalKind.REFUND_FEE),
    "refund_failure": Rule((JournalKind.REFUND_FAILED,), Key.SOURCE, JournalKind.REFUND_FEE),
    "dispute": Rule((JournalKind.DISPUTE_OPENED,), Key.TRANSACTION, JournalKind.DISPUTE_FEE),
    "dispute_reversal": Rule((JournalKind.DISPUTE_WON,), Key.TRANSACTION, JournalKind.DISPUTE_FEE),
    "transfer": Rule((JournalKind.PAYOUT,), Key.SOURCE, is_always_ours=True),
    "transfer_reversal": Rule((JournalKind.PAYOUT_REVERSED,), Key.SOURCE, is_always_ours=True),
    BANK_PAYOUTS: Rule((JournalKind.BANK_PAYOUT,), Key.SOURCE, JournalKind.BANK_PAYOUT_FEE, is_always_ours=True),
    "payout_reversal": Rule(
        (JournalKind.BANK_PAYOUT_RETURNED,), Key.SOURCE, JournalKind.BANK_PAYOUT_FEE, is_always_ours=True
    ),
}

EXCHANGES = (JournalKind.CONVERSION_CHARGED, JournalKind.CONVERSION_SETTLED)
"""Named by the balance transaction, whatever its category."""


def _categories() -> Iterator[tuple[JournalKind, str]]:
    for category, rule in RULES.items():
        yield from ((kind, category) for kind in rule.kinds)


CATEGORY_OF: Mapping[JournalKind, str] = dict(_categories())
"""The category of what a journal of this kind books; those of fees and exchanges go with another journal."""


def is_named_by_source(kind: JournalKind) -> bool:
    """Tell whether a journal of that kind is named by the object that moved the money, not by the movement."""
    category = CATEGORY_OF.get(kind)
    return category is not None and RULES[category].key is Key.SOURCE
