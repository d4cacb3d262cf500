"""What every answer from Stripe means for a payment in every state."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ledger.model import Journal, JournalKind
from domain.orders.model import ORDER_TRANSITIONS, Order, OrderStatus
from domain.payments.model import PAYMENT_TRANSITIONS, Payment, PaymentStatus
from domain.refunds.model import Refund
from domain.settlement.answers import Answer
from domain.settlement.decide.charges import decide_charge
from tests.builders import NOW, a_line, a_payment, an_order
from tests.domain.settlement.charge_situations import ANSWERS, LATER, at, in_state
from tests.stripe_answers import succeeded

# For each answer, by the payment's state: the state that follows, `=` for the same one with a new time to look
# again, `.` for the same one with nothing left to do, `-` for no news.
TABLE = """
answer                   pending          processing       unknown          requires_action  requires_capture succeeded failed    canceled
succeeded                succeeded        succeeded        succeeded        succeeded        succeeded        -         succeeded succeeded
canceled                 canceled         canceled         canceled         canceled         canceled         -         .         .
requires_action          requires_action  requires_action  requires_action  =                -                -         -         -
requires_capture         requires_capture requires_capture requires_capture requires_capture =                -         -         -
requires_payment_method  =                =                =                =                =                -         -         -
requires_confirmation    =                =                =                =                =                -         -         -
processing               =                =                =                =                =                -         -         -
refusal                  failed           failed           failed           =                =                -         -         -
unsure                   unknown          unknown          =                =                =                -         -         -
recorded                 unknown          unknown          =                =                =                -         -         -
throttled                =                =                =                =                =                -         -         -
absent                   unknown          unknown          =                =                =                -         -         -
withdrawn                canceled         canceled         canceled         canceled         canceled         -         -         -
capture_refused          =                =                =                =                =                -         -         -
"""  # noqa: E501 - a table
HEAD, *ROWS = [line.split() for line in TABLE.strip().splitlines()]
CASES = [(row[0], status, end) for row in ROWS for status, end in zip(HEAD[1:], row[1:], strict=True)]


@pytest.mark.parametrize(("answer", "status", "end"), CASES)
def test_answer_leads_from_each_state_where_the_table_says(answer: str, status: str, end: str) -> None:
    order = an_order()
    payment = in_state(PaymentStatus(status), order)

    change = decide_charge(at(payment, order), ANSWERS[answer](payment))

    if end == "-":
        assert change is None
        return
    assert change is not None
    if end == ".":
        assert (change.payment, change.due_at, change.events) == (payment, None, ())
    elif end == "=":
        assert change.payment.status is payment.status
        assert change.due_at is not None
        assert change.due_at > LATER
        assert change.events == ()
    else:
        assert change.payment.status == end
        assert change.events[0].type == f"payment.{end}"
        assert {event.audience for event in change.events} == {tuple(sorted(order.parties))}
        assert change.payment.updated_at == LATER


def test_table_names_every_state_and_every_answer() -> None:
    assert {PaymentStatus(status) for status in HEAD[1:]} == set(PaymentStatus)
    assert {row[0] for row in ROWS} == set(ANSWERS)


@pytest.mark.parametrize(("answer", "status"), [(answer, status) for answer, status, _ in CASES])
def test_repeated_answer_is_no_news(answer: str, status: str) -> None:
    order = an_order()
    payment = in_state(PaymentStatus(status), order)
    told = ANSWERS[answer](payment)
    first = decide_charge(at(payment, order), told)
    payment = first.payment if first else payment
    order = replace(order, status=OrderStatus.PAID) if first and first.paid_order_id else order

    again = decide_charge(at(payment, order), told)

    if again is not None:
        assert (again.payment.status, again.payment.captured_minor) == (payment.status, payment.captured_minor)
        assert (again.journals, again.events, again.paid_order_id, again.refund) == ((), (), None, None)


@dataclass
class Life:
    """A payment with its order, as one change after the other is applied to them."""

    order: Order
    payment: Payment
    now: datetime = NOW
    journals: list[Journal] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)

    def hear(self, answer: Answer, *, other: bool) -> None:
        change = decide_charge(at(self.payment, self.order, other=other, now=self.now), answer)
        if change is None:
            return
        before, after = self.payment.status, change.payment.status
        assert after is before or after in PAYMENT_TRANSITIONS[before]
        if change.paid_order_id is not None:
            assert OrderStatus.PAID in ORDER_TRANSITIONS[self.order.status]
            self.order = replace(self.order, status=OrderStatus.PAID)
        self.payment = change.payment
        self.journals += change.journals
        self.refunds += [change.refund] if change.refund else []


lives = st.lists(
    st.tuples(
        st.sampled_from(sorted(ANSWERS)), st.none() | st.integers(0, 88), st.integers(0, 300), st.booleans()
    ),
    max_size=25,
)


@given(lives, st.sampled_from([OrderStatus.PENDING, OrderStatus.PAID, OrderStatus.EXPIRED]))
def test_no_sequence_of_answers_books_twice_or_moves_backwards(
    steps: list[tuple[str, int | None, int, bool]], order_status: OrderStatus
) -> None:
    order = an_order([a_line(price_minor=1999), a_line(price_minor=501)], status=order_status)
    life = Life(order, a_payment(order))

    for name, fee_minor, wait_s, other in steps:
        life.now += timedelta(seconds=wait_s)
        answer = succeeded(life.payment, fee_minor) if name == "succeeded" else ANSWERS[name](life.payment)
        life.hear(answer, other=other)

    booked = [journal for journal in life.journals if journal.kind is not JournalKind.STRIPE_FEE]
    captured = any(name == "succeeded" for name, *_ in steps)
    assert len(booked) == captured
    assert sum(journal.entries[0].amount_minor for journal in booked) == life.payment.captured_minor
    assert life.payment.captured_minor == captured * life.payment.amount_minor
    assert len({(journal.kind, journal.source) for journal in life.journals}) == len(life.journals)
    assert all(sum(entry.amount_minor for entry in journal.entries) == 0 for journal in life.journals)
    assert [refund.amount_minor for refund in life.refunds] == [
        life.payment.captured_minor for journal in booked if journal.kind is JournalKind.UNAPPLIED_CHARGE
    ]
    assert (
        (life.payment.status is PaymentStatus.SUCCEEDED)
        == (captured and not life.refunds)
        == (life.order.status is not order_status)
    )
