"""The rules of disputes: what a report of Stripe means for a dispute and its money. Pure; no I/O.

A report tells the state and all balance transactions so far, so each is booked when it is first seen and a later
report repeats it: nothing depends on the order in which reports arrive, nor on how often. The transactions also
tell which of two reports is the older one; among those that know the same ones, states lead forward.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from domain.disputes.model import (
    APPEALS,
    DISPUTE_TRANSITIONS,
    ENDS,
    KEPT,
    Dispute,
    DisputeFunds,
    DisputeStatus,
)
from domain.errors import Refused
from domain.events import Event, event
from domain.ids import DisputeId, uuid7
from domain.ledger.model import (
    COMMISSION_REVENUE,
    STRIPE_BALANCE,
    UNAPPLIED_CHARGES,
    Account,
    Entry,
    Journal,
    JournalKind,
)
from domain.ledger.postings import (
    Part,
    post_dispute_lost,
    post_dispute_opened,
    post_dispute_won,
    post_lost_dispute_won,
    split_charge,
    take,
)
from domain.orders.model import Order
from domain.payments.model import Payment, PaymentStatus
from domain.payments.shares import shares_of
from domain.settlement.answers import StripeDispute, StripeTransaction
from domain.settlement.decide.movements import Movement, book_movement
from domain.settlement.decide.situation import journal_of
from domain.settlement.model import DisputeChange, SettlementPolicy


@dataclass(frozen=True, slots=True)
class DisputeSituation:
    """A locked payment that is disputed, with its order; the dispute, if it is known.

    `left` is what refunds and other disputes have left of each line, `opened` the journal of the last withdrawal.
    """

    payment: Payment
    order: Order | None
    dispute: Dispute | None
    left: tuple[Part, ...]
    opened: Journal | None
    now: datetime
    policy: SettlementPolicy

    @property
    def is_applied(self) -> bool:
        """Whether the disputed money has paid for something."""
        return self.payment.status is PaymentStatus.SUCCEEDED


def rounds(told: StripeDispute) -> list[StripeDispute]:
    """Return what a report tells, in its order: money that was taken again had been given back by a win."""
    moves = [transaction.amount_minor for transaction in told.transactions]
    won = [
        replace(told, status=DisputeStatus.WON, transactions=told.transactions[:count])
        for count in range(1, len(moves))
        if moves[count - 1] > 0 > moves[count]
    ]
    return [*won, told]


def is_doubtful(known: Dispute, told: StripeDispute) -> bool:
    """Tell whether a report may be late for all that it says: whether an appeal begins by it, or ends.

    An appeal moves no money until it is won, so that what was told before it is not told apart from what follows.
    """
    if _is_older(known, told) or _unseen(known, told):
        return False
    ends = known.status in APPEALS and told.status in ENDS
    return ends or (known.status is DisputeStatus.LOST and told.status in APPEALS)


def decide_dispute(situation: DisputeSituation, told: StripeDispute, *, is_present: bool = False) -> DisputeChange:
    """Return what a report changes; one that `is_present` was read from Stripe just now.

    Errors: Refused for money that no rule can book.
    """
    if not situation.payment.captured_minor:
        raise Refused("the disputed charge is not booked yet")
    before = situation.dispute
    draft = before or _new(situation, told)
    books = _Books(situation, draft)
    for transaction in told.transactions:
        books.move(transaction)
    if not _is_older(draft, told):
        books.stand(_status(draft, books.dispute, told, is_present=is_present), told)
    books.end()
    after = books.dispute
    if after != before:
        after = replace(after, updated_at=situation.now)
    return DisputeChange(after, tuple(books.journals), tuple(_events(situation, before, after)))


def _is_older(known: Dispute, told: StripeDispute) -> bool:
    """Tell whether a report was made before the last movement of money that is booked."""
    last_id = known.transaction_ids[-1] if known.transaction_ids else None
    return last_id is not None and last_id not in {each.id for each in told.transactions}


def _unseen(known: Dispute, told: StripeDispute) -> list[StripeTransaction]:
    return [each for each in told.transactions if each.id not in known.transaction_ids]


def _status(before: Dispute, booked: Dispute, told: StripeDispute, *, is_present: bool) -> DisputeStatus:
    """Return where a dispute stands by a report that is not older, once its money is booked."""
    if told.status not in DISPUTE_TRANSITIONS[before.status]:
        return before.status
    is_late = False
    if before.status in KEPT:
        is_late = not _takes_again(before, booked, told)
    elif before.status in APPEALS and told.status in ENDS:
        is_late = not (is_present or _unseen(before, told))
    return before.status if is_late else told.status


def _takes_again(before: Dispute, booked: Dispute, told: StripeDispute) -> bool:
    """Tell whether money was taken for a dispute that was over with the money kept.

    The report may tell of it first, or of the state that follows. An inquiry had taken none before; a win may be
    told of before the money comes back.
    """
    if any(each.amount_minor < 0 for each in _unseen(before, told)):
        return True
    is_first = booked.withdrawal_id in booked.transaction_ids[:1]
    is_inquiry = before.status is DisputeStatus.WARNING_CLOSED
    return booked.funds is DisputeFunds.WITHDRAWN and (is_inquiry or not is_first)


class _Books:
    """A dispute as its balance transactions are booked one after the other."""

    def __init__(self, situation: DisputeSituation, dispute: Dispute) -> None:
        self.dispute = dispute
        self.journals: list[Journal] = []
        self._situation = situation
        self._opened = situation.opened

    def move(self, transaction: StripeTransaction) -> None:
        """Book a balance transaction, unless it is booked."""
        if transaction.id in self.dispute.transaction_ids:
            return
        entries: tuple[Entry, ...] = ()
        if transaction.amount_minor < 0:
            entries = self._withdraw(transaction).entries
        elif transaction.amount_minor > 0:
            entries = self._reinstate(transaction).entries
        self.journals += self._movement(transaction, entries)
        self.dispute = replace(self.dispute, transaction_ids=(*self.dispute.transaction_ids, transaction.id))

    def stand(self, status: DisputeStatus, told: StripeDispute) -> None:
        """Note where the dispute stands, and until when to answer if a report tells of that state."""
        due_at = told.evidence_due_at if status is told.status else self.dispute.evidence_due_at
        self.dispute = replace(self.dispute, status=status, evidence_due_at=due_at)

    def end(self) -> None:
        """Book what is withdrawn as lost where the dispute is."""
        if self.dispute.status is DisputeStatus.LOST and self.dispute.funds is DisputeFunds.WITHDRAWN:
            entries = post_dispute_lost(self._held().entries, self._loser)
            self._post(JournalKind.DISPUTE_LOST, self.dispute.withdrawal_id or "", entries)
            self.dispute = replace(self.dispute, funds=DisputeFunds.LOST)

    def _withdraw(self, transaction: StripeTransaction) -> Journal:
        if self.dispute.funds is DisputeFunds.WITHDRAWN:
            raise Refused("a dispute took money twice", transaction_id=transaction.id)
        amount_minor = self._amount_minor(transaction)
        entries = post_dispute_opened(amount_minor, self._parts(amount_minor))
        self._opened = self._post(JournalKind.DISPUTE_OPENED, transaction.id, entries)
        self.dispute = replace(
            self.dispute,
            funds=DisputeFunds.WITHDRAWN,
            withdrawn_minor=amount_minor,
            withdrawal_id=transaction.id,
        )
        return self._opened

    def _reinstate(self, transaction: StripeTransaction) -> Journal:
        if self.dispute.funds not in {DisputeFunds.WITHDRAWN, DisputeFunds.LOST}:
            raise Refused("a dispute gave money back that it had not taken", transaction_id=transaction.id)
        if self._amount_minor(transaction) != self.dispute.withdrawn_minor:
            raise Refused("a dispute gave other money back than it took", transaction_id=transaction.id)
        held = self._held().entries
        if self.dispute.funds is DisputeFunds.LOST:
            entries = post_lost_dispute_won(held, self._loser)
        else:
            entries = post_dispute_won(held)
        self.dispute = replace(self.dispute, funds=DisputeFunds.REINSTATED)
        return self._post(JournalKind.DISPUTE_WON, transaction.id, entries)

    def _amount_minor(self, transaction: StripeTransaction) -> int:
        """Return what moved, in the currency of the charge; Stripe may settle in another."""
        same = transaction.currency == self.dispute.currency
        return abs(transaction.amount_minor) if same else self.dispute.amount_minor

    def _parts(self, amount_minor: int) -> list[Part]:
        """Return on which lines it falls: on what is left, or on all where what went back is disputed too."""
        if not self._situation.is_applied:
            return []
        left: Sequence[Part] = self._situation.left
        if sum(part.amount_minor for part in left) < amount_minor:
            payment, order = self._situation.payment, self._situation.order
            left = split_charge(payment.captured_minor, shares_of(payment, order))
        return take(amount_minor, left)

    def _held(self) -> Journal:
        assert self._opened is not None  # noqa: S101 - what is withdrawn was booked by a journal
        return self._opened

    @property
    def _loser(self) -> Account:
        """Who loses what no seller does."""
        return COMMISSION_REVENUE if self._situation.is_applied else UNAPPLIED_CHARGES

    def _movement(self, transaction: StripeTransaction, entries: tuple[Entry, ...]) -> tuple[Journal, ...]:
        situation = self._situation
        return book_movement(
            Movement(
                payment=situation.payment,
                shares=shares_of(situation.payment, situation.order),
                transaction=transaction,
                entries=entries,
                moved_minor=sum(entry.amount_minor for entry in entries if entry.account == STRIPE_BALANCE),
                fee_kind=JournalKind.DISPUTE_FEE,
                seller_bears=situation.policy.seller_bears_stripe_fee and situation.is_applied,
                now=situation.now,
            )
        )

    def _post(self, kind: JournalKind, source: str, entries: tuple[Entry, ...]) -> Journal:
        journal = journal_of(kind, source, self._situation.payment, entries, self._situation.now)
        self.journals.append(journal)
        return journal


def _new(situation: DisputeSituation, told: StripeDispute) -> Dispute:
    return Dispute(
        id=DisputeId(uuid7()),
        payment_id=situation.payment.id,
        stripe_dispute_id=told.stripe_dispute_id,
        stripe_charge_id=told.charge_id,
        amount_minor=told.amount_minor,
        currency=told.currency,
        reason=told.reason,
        status=told.status,
        evidence_due_at=told.evidence_due_at,
        opened_at=told.opened_at,
        created_at=situation.now,
        updated_at=situation.now,
    )


def _events(situation: DisputeSituation, before: Dispute | None, after: Dispute) -> list[Event]:
    """Return what is told to the sellers; the payer knows."""
    names = [] if before is not None else ["opened"]
    if before is None or before.funds is not after.funds:
        names += [f"funds_{after.funds}"] if after.funds is not DisputeFunds.NONE else []
    if (before is None and after.status is not DisputeStatus.NEEDS_RESPONSE) or (
        before is not None and before.status is not after.status
    ):
        names.append(after.status)
    audience = situation.payment.parties(situation.order) - {situation.payment.payer_id}
    due_at = after.evidence_due_at
    return [
        event(
            f"dispute.{name}",
            after.payment_id,
            situation.now,
            audience=audience,
            dispute_id=after.id,
            dispute_status=str(after.status),
            amount_minor=after.amount_minor,
            currency=after.currency,
            evidence_due_at=due_at.isoformat() if due_at else None,
        )
        for name in names
    ]
