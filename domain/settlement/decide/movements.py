"""What Stripe's balance transaction adds to a journal of ours: its fee, and an exchange into another currency."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from domain.ledger.model import Conversion, Entry, Journal, JournalKind
from domain.ledger.postings import (
    Share,
    exchange_shares,
    post_conversion,
    post_stripe_fee,
    seller_entries,
    undo,
)
from domain.payments.model import Payment
from domain.settlement.answers import StripeTransaction
from domain.settlement.decide.situation import journal_of


@dataclass(frozen=True, slots=True)
class Movement:
    """A movement that is booked in the currency of its charge, with Stripe's balance transaction for it.

    `entries` are what is booked, `moved_minor` is the part of them on `stripe_balance`. `seller_bears` says
    whether Stripe's fee falls on the sellers of the shares or on the platform.
    """

    payment: Payment
    shares: Sequence[Share]
    transaction: StripeTransaction
    entries: Sequence[Entry]
    moved_minor: int
    fee_kind: JournalKind
    seller_bears: bool
    now: datetime


def book_movement(movement: Movement) -> tuple[Journal, ...]:
    """Return the journals of the fee, and of the exchange where Stripe settled in another currency.

    A journal has one currency, so an exchange is a pair. What was charged leaves `stripe_balance` in one currency
    and enters it in the other, so that each balance is what Stripe holds. What sellers are owed of it goes along
    at Stripe's rate, so that it can be transferred to them. `currency_conversion` takes the rest.
    """
    if movement.transaction.currency == movement.payment.currency:
        return _fee(movement)
    return (*_exchange(movement), *_fee(movement))


def _fee(movement: Movement) -> tuple[Journal, ...]:
    fee_minor = movement.transaction.fee_minor
    if not fee_minor:
        return ()
    entries = post_stripe_fee(fee_minor, movement.shares, seller_bears=movement.seller_bears)
    return (_settled(movement, movement.fee_kind, entries),)


def _exchange(movement: Movement) -> tuple[Journal, ...]:
    transaction = movement.transaction
    if not transaction.amount_minor:
        return ()
    shares = seller_entries(movement.entries)
    charged = _charged(
        movement, JournalKind.CONVERSION_CHARGED, post_conversion(-movement.moved_minor, undo(shares))
    )
    conversion = Conversion(
        from_currency=movement.payment.currency,
        from_minor=movement.moved_minor,
        to_currency=transaction.currency,
        to_minor=transaction.amount_minor,
        exchange_rate=transaction.exchange_rate,
    )
    exchanged = exchange_shares(shares, movement.moved_minor, transaction.amount_minor)
    settled = _settled(
        movement, JournalKind.CONVERSION_SETTLED, post_conversion(transaction.amount_minor, exchanged)
    )
    return replace(charged, conversion=conversion), settled


def _charged(movement: Movement, kind: JournalKind, entries: tuple[Entry, ...]) -> Journal:
    return journal_of(kind, movement.transaction.id, movement.payment, entries, movement.now)


def _settled(movement: Movement, kind: JournalKind, entries: tuple[Entry, ...]) -> Journal:
    journal = _charged(movement, kind, entries)
    currency = movement.transaction.currency
    return journal if journal.currency == currency else replace(journal, currency=currency)
