"""What every answer from Stripe means for a refund in every state."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Refused
from domain.ledger.model import (
    COMMISSION_REVENUE,
    CURRENCY_CONVERSION,
    PROCESSING_FEES,
    STRIPE_BALANCE,
    UNAPPLIED_CHARGES,
    Entry,
    JournalKind,
)
from domain.ledger.model import seller_payable as payable
from domain.ledger.postings import Part
from domain.payments.model import Payment, PaymentStatus
from domain.refunds.model import REFUND_TRANSITIONS, Refund, RefundStatus
from domain.settlement.answers import (
    Absent,
    RefundAnswer,
    Refusal,
    StripeRefund,
    StripeTransaction,
    Throttled,
    Unsure,
)
from domain.settlement.decide.refunds import PENDING_POLL, RefundSituation, decide_refund
from domain.settlement.model import RefundChange, SettlementPolicy
from tests.builders import NOW, a_payment, a_refund
from tests.stripe_answers import refunded

POLICY = SettlementPolicy()
LATER = NOW + timedelta(seconds=1)
GRACE = timedelta(seconds=POLICY.lookup_grace_s)
PAYMENT = a_payment(status=PaymentStatus.SUCCEEDED, captured_minor=1999)
assert PAYMENT.seller_id is not None
SELLER = PAYMENT.seller_id

ANSWERS: dict[str, Callable[[Refund], RefundAnswer]] = {
    "pending": lambda refund: refunded(refund, RefundStatus.PENDING),
    "moved": lambda refund: refunded(refund, RefundStatus.PENDING, transaction_id=f"txn_{refund.id}"),
    "succeeded": refunded,
    "failed": lambda refund: refunded(refund, RefundStatus.FAILED, failure_code="lost_or_stolen_card"),
    "refusal": lambda _: Refusal("charge_disputed"),
    "unsure": lambda _: Unsure("timeout"),
    "recorded": lambda _: Unsure("replayed 500", lookup_only=True),
    "throttled": lambda _: Throttled("rate limit"),
    "absent": lambda _: Absent(),
}
# For each answer, by where the refund stands: where it stands then, and `+` or `-` for what is booked.
TABLE = """
answer     sent       known      moved        succeeded    failed  refused
pending    pending    pending    pending      succeeded    failed  failed
moved      pending+   pending+   pending      succeeded    failed  failed
succeeded  succeeded+ succeeded+ succeeded    succeeded    failed  failed
failed     failed     failed     failed-      failed-      failed  failed
refusal    failed     pending    pending      succeeded    failed  failed
unsure     pending    pending    pending      succeeded    failed  failed
recorded   pending    pending    pending      succeeded    failed  failed
throttled  pending    pending    pending      succeeded    failed  failed
absent     pending    pending    pending      succeeded    failed  failed
"""
HEAD, *ROWS = [line.split() for line in TABLE.strip().splitlines()]
CASES = [(row[0], stage, end) for row in ROWS for stage, end in zip(HEAD[1:], row[1:], strict=True)]
BOOKED = {"+": [JournalKind.REFUND], "-": [JournalKind.REFUND_FAILED]}


def standing(stage: str) -> Refund:
    """Return a refund of 10.00 of a payment of 19.99, as it is at that stage."""
    refund = a_refund(PAYMENT, amount_minor=1000, lines=(Part(1, SELLER, 1000, 25),), attempts=1)
    known = replace(refund, stripe_refund_id=f"re_{refund.id}")
    return {
        "sent": refund,
        "known": known,
        "moved": replace(known, is_booked=True),
        "succeeded": replace(
            known, is_booked=True, status=RefundStatus.SUCCEEDED, transaction_id=f"txn_{refund.id}"
        ),
        "failed": replace(known, status=RefundStatus.FAILED, failure_code="x", transaction_id=f"txn_{refund.id}"),
        "refused": replace(refund, status=RefundStatus.FAILED, failure_code="x"),
    }[stage]


def at(refund: Refund, payment: Payment = PAYMENT, now: datetime = LATER) -> RefundSituation:
    return RefundSituation(refund, payment, None, now, POLICY)


def entries(change: RefundChange) -> list[Entry]:
    (journal,) = change.journals
    assert journal.source == change.refund.stripe_refund_id
    assert journal.payment_id == PAYMENT.id
    return list(journal.entries)


@pytest.mark.parametrize(("answer", "stage", "end"), CASES)
def test_answer_leads_from_each_stage_where_the_table_says(answer: str, stage: str, end: str) -> None:
    refund = standing(stage)
    told = ANSWERS[answer](refund)

    change = decide_refund(at(refund), told)

    status, booked = end.rstrip("+-"), end[len(end.rstrip("+-")) :]
    assert change.refund.status == status
    assert [journal.kind for journal in change.journals] == BOOKED.get(booked, [])
    assert [event.type for event in change.events] == ([f"refund.{status}"] if status != refund.status else [])
    # A refund that is over is asked about for its movements alone, so no answer is no end of it.
    asked_in_vain = refund.stripe_refund_id is not None and not isinstance(told, StripeRefund)
    assert (change.due_at is not None) == (status == "pending" or asked_in_vain)
    assert change.due_at is None or change.due_at > LATER
    assert status == refund.status or change.refund.updated_at == LATER


def test_table_names_every_answer() -> None:
    assert {row[0] for row in ROWS} == set(ANSWERS)


@pytest.mark.parametrize(("answer", "stage"), [(answer, stage) for answer, stage, _ in CASES])
def test_repeated_answer_books_nothing(answer: str, stage: str) -> None:
    refund = standing(stage)
    first = decide_refund(at(refund), ANSWERS[answer](refund))

    again = decide_refund(at(first.refund, now=LATER + timedelta(seconds=1)), ANSWERS[answer](first.refund))

    assert (again.refund, again.journals, again.events) == (first.refund, (), ())


def test_success_takes_the_parts_of_each_line_back() -> None:
    refund = standing("sent")

    change = decide_refund(at(refund), refunded(refund))

    assert entries(change) == [
        Entry(payable(SELLER), 975),
        Entry(COMMISSION_REVENUE, 25),
        Entry(STRIPE_BALANCE, -1000),
    ]
    assert (change.refund.is_booked, change.refund.updated_at) == (True, LATER)


def test_success_is_booked_though_its_movement_has_no_name_yet() -> None:
    refund = standing("sent")

    change = decide_refund(at(refund), refunded(refund, transaction_id=None, transaction=None))

    assert [journal.kind for journal in change.journals] == [JournalKind.REFUND]
    assert change.due_at == LATER + timedelta(seconds=1)


def test_reason_of_a_failure_is_kept_where_it_is_told_without() -> None:
    refund = standing("failed")

    change = decide_refund(at(refund), refunded(refund, RefundStatus.FAILED))

    assert change.refund.failure_code == "x"


def test_failure_after_the_success_undoes_it_leg_by_leg() -> None:
    refund = standing("succeeded")

    change = decide_refund(at(refund), ANSWERS["failed"](refund))

    assert entries(change) == [
        Entry(payable(SELLER), -975),
        Entry(COMMISSION_REVENUE, -25),
        Entry(STRIPE_BALANCE, 1000),
    ]
    assert (change.refund.is_booked, change.refund.failure_code) == (False, "lost_or_stolen_card")
    assert change.events[0].data["failure_code"] == "lost_or_stolen_card"


def test_refund_that_moved_money_and_failed_at_once_is_booked_both_ways() -> None:
    refund = standing("sent")

    change = decide_refund(at(refund), refunded(refund, RefundStatus.FAILED, transaction_id="txn_1"))

    assert [journal.kind for journal in change.journals] == [JournalKind.REFUND, JournalKind.REFUND_FAILED]
    assert [event.type for event in change.events] == ["refund.failed"]
    assert change.due_at == LATER + timedelta(seconds=1), "what it cost is still to be asked"


def test_refund_of_money_that_paid_for_nothing_returns_it() -> None:
    refund = replace(standing("sent"), lines=())

    change = decide_refund(at(refund), refunded(refund))

    assert entries(change) == [Entry(UNAPPLIED_CHARGES, 1000), Entry(STRIPE_BALANCE, -1000)]
    assert change.journals[0].kind is JournalKind.UNAPPLIED_REFUND
    undone = decide_refund(at(change.refund), ANSWERS["failed"](change.refund))
    assert entries(undone) == [Entry(UNAPPLIED_CHARGES, -1000), Entry(STRIPE_BALANCE, 1000)]
    assert undone.journals[0].kind is JournalKind.REFUND_FAILED


@pytest.mark.parametrize("changes", [{"amount_minor": 999}, {"currency": "EUR"}, {"stripe_refund_id": "re_2"}])
def test_refund_at_stripe_that_is_not_ours_is_refused(changes: dict[str, object]) -> None:
    refund = standing("known")

    with pytest.raises(Refused):
        decide_refund(at(refund), refunded(refund, **changes))


def test_recorded_error_forbids_to_use_the_key_again() -> None:
    change = decide_refund(at(standing("sent")), ANSWERS["recorded"](standing("sent")))
    again = decide_refund(at(change.refund, now=LATER + GRACE), ANSWERS["recorded"](change.refund))

    assert change.refund.key_burnt_at == again.refund.key_burnt_at == LATER


def test_absent_refund_is_sent_under_a_new_key_only_after_the_grace() -> None:
    """The grace begins when the key is given up: an attempt of a moment before may still arrive."""
    refund = replace(standing("sent"), first_sent_at=NOW - timedelta(days=1))

    first = decide_refund(at(refund, now=NOW), Absent()).refund
    within = decide_refund(at(first, now=NOW + GRACE - timedelta(seconds=1)), Absent()).refund
    after = decide_refund(at(within, now=NOW + GRACE), Absent())

    assert (first.key_burnt_at, within.stripe_key) == (NOW, refund.stripe_key)
    assert (after.refund.status, after.due_at) == (RefundStatus.PENDING, NOW + GRACE)
    assert after.refund.stripe_key == f"{refund.stripe_key}-1"
    assert (after.refund.first_sent_at, after.refund.key_burnt_at) == (None, None)


def test_refund_whose_movement_is_not_told_yet_is_asked_about() -> None:
    refund = standing("sent")

    told = decide_refund(at(refund), refunded(refund, transaction=None))
    known = decide_refund(at(told.refund), refunded(refund))

    assert told.due_at == LATER + timedelta(seconds=1)
    assert (known.refund.transaction_id, known.due_at, known.journals) == (f"txn_{refund.id}", None, ())


def test_refund_that_failed_is_asked_about_until_both_movements_are_known() -> None:
    refund = standing("succeeded")
    back = StripeTransaction("txn_2", 1000, 0, "USD")

    told = decide_refund(at(refund), refunded(refund, RefundStatus.FAILED, failure_transaction_id="txn_2"))
    known = decide_refund(
        at(told.refund),
        refunded(refund, RefundStatus.FAILED, failure_transaction_id="txn_2", failure_transaction=back),
    )

    assert told.due_at is not None
    assert (known.refund.failure_transaction_id, known.due_at, known.journals) == ("txn_2", None, ())


def test_refund_that_stripe_charges_for_costs_who_bears_its_fees() -> None:
    refund = standing("sent")
    moved = StripeTransaction(f"txn_{refund.id}", -1000, 30, "USD")

    change = decide_refund(at(refund), refunded(refund, transaction=moved))

    assert [journal.kind for journal in change.journals] == [JournalKind.REFUND, JournalKind.REFUND_FEE]
    assert list(change.journals[1].entries) == [Entry(payable(SELLER), 30), Entry(STRIPE_BALANCE, -30)]


@pytest.mark.parametrize("lines", [standing("sent").lines, ()], ids=["by its settings", "of unapplied money"])
def test_platform_bears_the_fee_of_a_refund(lines: tuple[Part, ...]) -> None:
    refund = replace(standing("sent"), lines=lines)
    moved = StripeTransaction(f"txn_{refund.id}", -1000, 30, "USD")
    policy = SettlementPolicy(seller_bears_stripe_fee=not lines)

    change = decide_refund(replace(at(refund), policy=policy), refunded(refund, transaction=moved))

    assert list(change.journals[1].entries) == [Entry(PROCESSING_FEES, 30), Entry(STRIPE_BALANCE, -30)]


def test_refund_that_stripe_settles_in_another_currency_is_exchanged_at_the_rate_of_the_day() -> None:
    refund = standing("sent")
    moved = StripeTransaction(f"txn_{refund.id}", -1123, 0, "EUR", Decimal("1.123"))
    back = StripeTransaction("txn_2", 1098, 0, "EUR", Decimal("1.098"))

    sent = decide_refund(at(refund), refunded(refund, transaction=moved))
    both = refunded(
        refund,
        RefundStatus.FAILED,
        transaction=moved,
        failure_transaction_id="txn_2",
        failure_transaction=back,
    )
    failed = decide_refund(at(sent.refund), both)
    assert decide_refund(at(failed.refund), both) == RefundChange(failed.refund, None)

    books: Counter[tuple[str, str]] = Counter()
    at_stripe = []
    for change in (sent, failed):
        for journal in change.journals:
            assert journal.conversion is None or journal.kind is JournalKind.CONVERSION_CHARGED
            for entry in journal.entries:
                books[entry.account, journal.currency] += entry.amount_minor
        at_stripe.append((books[STRIPE_BALANCE, "USD"], books[STRIPE_BALANCE, "EUR"]))
    assert at_stripe == [(0, -1123), (0, -25)]
    # Of 11.23 and 10.98 EUR the seller had 10.95 and 10.71: it bears its part of what the rates made of them.
    assert +books == {(payable(SELLER), "EUR"): 1095 - 1071, (CURRENCY_CONVERSION, "EUR"): 28 - 27}
    assert [j.conversion.exchange_rate for j in (*sent.journals, *failed.journals) if j.conversion] == [
        Decimal("1.123"),
        Decimal("1.098"),
    ]


def test_throttling_comes_back_when_stripe_says() -> None:
    patient = decide_refund(at(standing("sent")), Throttled("rate limit", retry_after_s=17))
    impatient = decide_refund(at(standing("sent")), Throttled("rate limit", retry_after_s=0.1))

    assert patient.due_at == LATER + timedelta(seconds=17)
    assert impatient.due_at == LATER + timedelta(seconds=1)


def test_refund_that_takes_days_is_looked_at_seldom() -> None:
    patient = replace(standing("known"), attempts=11)

    assert decide_refund(at(patient), ANSWERS["pending"](patient)).due_at == LATER + PENDING_POLL


@dataclass
class Life:
    """A refund as one answer after the other is applied to it."""

    refund: Refund
    now: datetime = NOW
    booked_minor: int = 0
    sources: set[tuple[JournalKind, str]] = field(default_factory=set)

    def hear(self, answer: RefundAnswer) -> None:
        change = decide_refund(at(self.refund, now=self.now), answer)
        before, after = self.refund.status, change.refund.status
        assert after is before or after in REFUND_TRANSITIONS[before]
        for journal in change.journals:
            assert (journal.kind, journal.source) not in self.sources
            self.sources.add((journal.kind, journal.source))
            self.booked_minor -= sum(e.amount_minor for e in journal.entries if e.account == STRIPE_BALANCE)
        self.refund = change.refund


@given(st.lists(st.tuples(st.sampled_from(sorted(ANSWERS)), st.integers(0, 300)), max_size=25))
def test_no_sequence_of_answers_books_twice_or_moves_backwards(steps: list[tuple[str, int]]) -> None:
    life = Life(standing("sent"))

    for name, wait_s in steps:
        life.now += timedelta(seconds=wait_s)
        life.hear(ANSWERS[name](life.refund))

    assert life.booked_minor == (life.refund.amount_minor if life.refund.is_booked else 0)
    assert life.refund.is_booked or life.refund.status is not RefundStatus.SUCCEEDED
    assert not (life.refund.is_booked and life.refund.status is RefundStatus.FAILED)
