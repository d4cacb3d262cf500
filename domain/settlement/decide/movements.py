"""What a balance transaction of Stripe adds to a journal of ours: its fee, and the currency that it settled in."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from domain.ledger.model import Conversion, Entry, Journal, JournalKind
from domain.ledger.postings import (
    Share,
    post_conversion,
    post_converted_fee,
    post_converted_fee_share,
    post_stripe_fee,
)
from domain.money import proportion
from domain.payments.model import Payment
from domain.settlement.decide.situation import journal_of
from domain.settlement.model import StripeTransaction


@dataclass(frozen=True, slots=True)
class Movement:
    """A movement that is booked in the currency of its charge, with Stripe's word of it.

    `moved_minor` is what it does to `stripe_balance` in that currency. Who sold the shares bears Stripe's fee, or
    the platform does.
    """

    payment: Payment
    shares: Sequence[Share]
    transaction: StripeTransaction
    moved_minor: int
    fee_kind: JournalKind
    seller_bears: bool
    now: datetime


def book_movement(movement: Movement) -> tuple[Journal, ...]:
    """Return the journals of the fee, and of the exchange where Stripe settled in another currency.

    Each journal has one currency. An exchange is a pair: what was charged leaves `stripe_balance` in the one
    currency and enters it in the other, so that it is in each what Stripe holds; `currency_conversion` takes both
    sides.
    """
    if movement.transaction.currency == movement.payment.currency:
        return _fee(movement)
    return (*_exchange(movement), *_converted_fee(movement))


def _fee(movement: Movement, *, seller_bears: bool | None = None) -> tuple[Journal, ...]:
    fee_minor = movement.transaction.fee_minor
    if not fee_minor:
        return ()
    bears = movement.seller_bears if seller_bears is None else seller_bears
    return (
        _settled(movement, movement.fee_kind, post_stripe_fee(fee_minor, movement.shares, seller_bears=bears)),
    )


def _exchange(movement: Movement) -> tuple[Journal, ...]:
    transaction = movement.transaction
    if not transaction.amount_minor:
        return ()
    charged = _charged(movement, JournalKind.CONVERSION_CHARGED, post_conversion(-movement.moved_minor))
    conversion = Conversion(
        from_currency=movement.payment.currency,
        from_minor=movement.moved_minor,
        to_currency=transaction.currency,
        to_minor=transaction.amount_minor,
        exchange_rate=transaction.exchange_rate,
    )
    settled = _settled(movement, JournalKind.CONVERSION_SETTLED, post_conversion(transaction.amount_minor))
    return replace(charged, conversion=conversion), settled


def _converted_fee(movement: Movement) -> tuple[Journal, ...]:
    """Take the fee in the currency of the settlement, from the sellers in that of the charge, at the same rate."""
    transaction = movement.transaction
    if not transaction.fee_minor or not movement.seller_bears or not transaction.amount_minor:
        return _fee(movement, seller_bears=False)
    share_minor = proportion(transaction.fee_minor, movement.moved_minor, transaction.amount_minor)
    taken = _settled(movement, movement.fee_kind, post_converted_fee(transaction.fee_minor))
    if not share_minor:
        return (taken,)
    entries = post_converted_fee_share(share_minor, movement.shares)
    return taken, _charged(movement, JournalKind.CONVERSION_FEE, entries)


def _charged(movement: Movement, kind: JournalKind, entries: tuple[Entry, ...]) -> Journal:
    return journal_of(kind, movement.transaction.id, movement.payment, entries, movement.now)


def _settled(movement: Movement, kind: JournalKind, entries: tuple[Entry, ...]) -> Journal:
    journal = _charged(movement, kind, entries)
    currency = movement.transaction.currency
    return journal if journal.currency == currency else replace(journal, currency=currency)
