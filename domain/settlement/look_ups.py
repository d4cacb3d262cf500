"""Which intents are looked up together in Stripe's list, and in which span of it. Pure; no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.payments.model import Payment
from domain.settlement.model import SettlementPolicy

_LONGEST = timedelta(minutes=30)
"""The longest span that several payments share; that of one payment alone may be longer."""


@dataclass(frozen=True, slots=True)
class LookUp:
    """Payments whose intents are looked up together: if they were made, then between these two times."""

    payments: tuple[Payment, ...]
    since: datetime
    until: datetime


def look_ups(payments: Sequence[Payment], policy: SettlementPolicy) -> Sequence[LookUp]:
    """Return look-ups in which each payment occurs once.

    The list of a short span is read once for all payments of that span. A payment whose charge was tried for
    hours, or on another day, is looked up by itself, so that it holds up no other.
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
    """Return the span in which a payment was charged, if it was.

    Its key was in use until it was given up (`updated_at`), at the latest until Stripe might forget it, and a call
    that began then ended with its lease. If the key has not been given up yet, absence proves nothing: the key is
    given up then, and the intent is looked up once more.
    """
    since = payment.first_charged_at or payment.created_at
    key_ends_at = since + timedelta(seconds=policy.stripe_key_lifetime_s + policy.lease_s)
    return LookUp((payment,), since, max(since, min(payment.updated_at, key_ends_at)))
