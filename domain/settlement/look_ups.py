"""Which payments' intents are looked for together in Stripe's list, and between which times. Pure; no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.payments.model import Payment
from domain.settlement.model import SettlementPolicy

_LONGEST = timedelta(minutes=30)
"""For how long the intents that are looked for together may have been made, unless those of one payment may."""


@dataclass(frozen=True, slots=True)
class LookUp:
    """Payments whose intents are looked for together. All that may be theirs were made between these times."""

    payments: tuple[Payment, ...]
    since: datetime
    until: datetime


def look_ups(payments: Sequence[Payment], policy: SettlementPolicy) -> Sequence[LookUp]:
    """Return what is to be looked for, each payment once.

    The list of a short time is read for all payments of that time at once. A payment whose charge was tried for
    hours, or on another day, holds up nobody: it is looked up by itself.
    """
    together: list[LookUp] = []
    for one in sorted((_alone(payment, policy) for payment in payments), key=lambda one: (one.since, one.until)):
        last = together[-1] if together else one
        until = max(last.until, one.until)
        if last is not one and until - last.since <= _LONGEST:
            together[-1] = LookUp((*last.payments, *one.payments), last.since, until)
        else:
            together.append(one)
    return together


def _alone(payment: Payment, policy: SettlementPolicy) -> LookUp:
    """Return between which times a payment was charged, if it was.

    Its key was used until it was given up, and at the latest until Stripe might have forgotten it; a call that was
    begun then has ended with its lease. While the key is not given up, an absence says nothing: then it is given
    up, and another look follows.
    """
    since = payment.first_charged_at or payment.created_at
    key_ends_at = since + timedelta(seconds=policy.stripe_key_lifetime_s + policy.lease_s)
    return LookUp((payment,), since, max(since, min(payment.updated_at, key_ends_at)))
