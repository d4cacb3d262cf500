"""What every rule of settlement looks at, and what several rules share."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.events import Event, event
from domain.ids import JournalId, UserId, uuid7
from domain.ledger.model import Entry, Journal, JournalKind
from domain.ledger.postings import Share
from domain.orders.model import Order, OrderStatus
from domain.payments.model import DEAD, Payment
from domain.payments.shares import shares_of
from domain.settlement.model import SettlementPolicy


@dataclass(frozen=True, slots=True)
class Situation:
    """A locked payment with its order, and whether another payment of that order is alive."""

    payment: Payment
    order: Order | None
    order_has_other: bool
    now: datetime
    policy: SettlementPolicy

    @property
    def shares(self) -> Sequence[Share]:
        """What was sold, by line."""
        return shares_of(self.payment, self.order)

    @property
    def parties(self) -> Collection[UserId]:
        """Whom the payment concerns."""
        return self.payment.parties(self.order)

    @property
    def applies(self) -> bool:
        """Whether captured money can pay for what it was meant for.

        A payment that was given up may still pay its pending order, unless another payment of it is alive. A
        direct payment that was given up may not: its payer has been told so, and may have paid again.
        """
        given_up = self.payment.status in DEAD
        if self.order is None:
            return not given_up
        return self.order.status is OrderStatus.PENDING and not (given_up and self.order_has_other)


def retry_delay(attempts: int, policy: SettlementPolicy) -> timedelta:
    """Return how long to wait after that many attempts: it doubles, up to `retry_cap_s`."""
    exponent = min(max(attempts - 1, 0), 16)
    return timedelta(seconds=min(policy.retry_base_s * 2**exponent, policy.retry_cap_s))


def journal_of(
    kind: JournalKind, source: str, payment: Payment, entries: tuple[Entry, ...], now: datetime
) -> Journal:
    """Return the journal of a movement of a payment's money, in its currency."""
    return Journal(
        id=JournalId(uuid7()),
        kind=kind,
        source=source,
        payment_id=payment.id,
        currency=payment.currency,
        entries=entries,
        created_at=now,
    )


def payment_event(payment: Payment, situation: Situation) -> Event:
    """Return the event that tells a payment's new state."""
    facts = {"failure_code": payment.failure_code} if payment.failure_code else {}
    return event(
        f"payment.{payment.status}",
        payment.id,
        situation.now,
        audience=situation.parties,
        order_id=payment.order_id,
        amount_minor=payment.amount_minor,
        currency=payment.currency,
        **facts,
    )
