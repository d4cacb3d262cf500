"""Balance transactions: every movement of an account's money, and the currency that it is settled in."""

from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

from ops.stripe_sandbox.objects import Obj
from ops.stripe_sandbox.sandbox import Sandbox

_SETTLED_IN = "settled_in:"


class Settled(NamedTuple):
    """An amount in the currency in which the account holds it; the rate is None where none was applied."""

    amount_minor: int
    currency: str
    exchange_rate: float | None


def book(
    sandbox: Sandbox,
    *,
    kind: str,
    source: str,
    amount_minor: int,
    currency: str,
    account: str = "",
    fee_minor: int = 0,
    category: str = "",
    description: str | None = None,
    available_on: int | None = None,
    exchange_rate: float | None = None,
) -> str:
    """Add a balance transaction and return its id; an amount below zero leaves the balance.

    The money moves at once unless `available_on` says later. `category` is the reporting category where it
    differs from the kind, `account` a connected account; the platform's books are meant without one.
    """
    now = int(sandbox.now())
    available_on = now if available_on is None else available_on
    transaction: Obj = {
        "id": sandbox.new_id("txn"),
        "amount": amount_minor,
        "available_on": available_on,
        "created": now,
        "currency": currency,
        "description": description,
        "fee": fee_minor,
        "net": amount_minor - fee_minor,
        "reporting_category": category or kind,
        "source": source,
        "status": "pending" if available_on > now else "available",
        "type": kind,
    }
    if fee_minor:
        transaction["fee_details"] = [_fee_detail(fee_minor, currency, category)]
    if exchange_rate is not None:
        transaction["exchange_rate"] = exchange_rate
    sandbox.store.books_of(account).balance_transactions.put(transaction)
    return str(transaction["id"])


def as_of_now(sandbox: Sandbox, transaction: Obj) -> Obj:
    """Return a balance transaction with the status that the clock gives it."""
    if transaction["status"] == "pending" and transaction["available_on"] <= sandbox.now():
        return {**transaction, "status": "available"}
    return transaction


def settle_in(sandbox: Sandbox, currency: str, settlement_currency: str | None, exchange_rate: float) -> None:
    """Let what is charged in one currency be held in another from now on; None ends it."""
    settings = sandbox.store.settings
    if settlement_currency is None:
        settings.remove(_SETTLED_IN + currency)
    else:
        settings.put(_SETTLED_IN + currency, (settlement_currency, exchange_rate))


def settled(sandbox: Sandbox, amount_minor: int, currency: str) -> Settled:
    """Return an amount that is charged as the platform's balance holds it.

    The rate is between minor units, as Stripe's reference has it: the charge's amount times the rate is the
    balance transaction's (https://docs.stripe.com/api/balance_transactions/object).
    """
    rule = sandbox.store.settings.get(_SETTLED_IN + currency)
    if rule is None:
        return Settled(amount_minor, currency, None)
    settlement_currency, exchange_rate = rule
    return Settled(_converted(amount_minor, exchange_rate), settlement_currency, exchange_rate)


def settled_like(sandbox: Sandbox, amount_minor: int, charge: Obj) -> Settled:
    """Return a part of a charge in the currency that the charge was settled in, at the rate of today.

    Stripe converts what it takes back anew, so the parts need not add up to the whole
    (https://docs.stripe.com/currencies/conversions).
    """
    today = settled(sandbox, amount_minor, charge["currency"])
    booked = sandbox.store.balance_transactions.get(charge.get("balance_transaction") or "")
    if booked is None or booked["currency"] == today.currency:
        return today
    exchange_rate = booked.get("exchange_rate")
    if exchange_rate is None:
        return Settled(amount_minor, charge["currency"], None)
    return Settled(_converted(amount_minor, exchange_rate), booked["currency"], exchange_rate)


def _converted(amount_minor: int, exchange_rate: float) -> int:
    return int((amount_minor * Decimal(str(exchange_rate))).quantize(Decimal(1), ROUND_HALF_UP))


def _fee_detail(fee_minor: int, currency: str, category: str) -> Obj:
    description = "Dispute fee" if category.startswith("dispute") else "Stripe processing fees"
    return {
        "amount": fee_minor,
        "application": None,
        "currency": currency,
        "description": description,
        "type": "stripe_fee",
    }
