"""What every answer from Stripe means for a payment in every state."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Refused
from domain.ids import UserId, uuid7
from domain.ledger.model import (
    COMMISSION_REVENUE,
    CURRENCY_CONVERSION,
    PROCESSING_FEES,
    STRIPE_BALANCE,
    UNAPPLIED_CHARGES,
    Conversion,
    Entry,
    Journal,
    JournalKind,
    seller_payable,
)
from domain.orders.model import ORDER_TRANSITIONS, Order, OrderStatus
from domain.payments.model import DEAD, PAYMENT_TRANSITIONS, Payment, PaymentStatus
from domain.refunds.model import Refund
from domain.settlement.answers import (
    Absent,
    Answer,
    CaptureRefused,
    IntentStatus,
    Refusal,
    StripeTransaction,
    Throttled,
    Unsure,
    Withdrawn,
)
from domain.settlement.decide.charges import ACTION_POLL, CAPTURE_POLL, decide_charge
from domain.settlement.decide.situation import Situation, retry_delay
from domain.settlement.model import Change, SettlementPolicy
from tests.builders import NOW, a_line, a_payment, an_intent, an_order, declined, succeeded

POLICY = SettlementPolicy()
LATER = NOW + timedelta(seconds=1)

ANSWERS: dict[str, Callable[[Payment], Answer]] = {
    **{str(status): lambda p, status=status: an_intent(status, p) for status in IntentStatus},
    "succeeded": succeeded,
    "refusal": lambda _: Refusal("expired_card"),
    "unsure": lambda _: Unsure("timeout"),
    "recorded": lambda _: Unsure("replayed 500", lookup_only=True),
    "throttled": lambda _: Throttled("rate limit"),
    "absent": lambda _: Absent(),
    "withdrawn": lambda _: Withdrawn(),
    "capture_refused": lambda _: CaptureRefused("amount_too_small"),
}

# For each answer, by the payment's state: the state that follows, `=` for the same one with a new time to look
# again, `-` for no news.
TABLE = """
answer                   pending          processing       unknown          requires_action  requires_capture succeeded failed    canceled
succeeded                succeeded        succeeded        succeeded        succeeded        succeeded        -         succeeded succeeded
canceled                 canceled         canceled         canceled         canceled         canceled         -         -         -
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


def in_state(status: PaymentStatus, order: Order | None = None) -> Payment:
    """Return a payment as it is when it stands there."""
    payment = a_payment(order, status=status, attempts=1, first_charged_at=NOW)
    match status:
        case PaymentStatus.PENDING:
            return replace(payment, attempts=0, first_charged_at=None)
        case PaymentStatus.REQUIRES_ACTION:
            return replace(payment, stripe_intent_id="pi_1", client_secret="pi_1_secret")
        case PaymentStatus.REQUIRES_CAPTURE | PaymentStatus.CANCELED:
            return replace(payment, stripe_intent_id="pi_1")
        case PaymentStatus.FAILED:
            return replace(payment, stripe_intent_id="pi_1", failure_code="card_declined")
        case PaymentStatus.SUCCEEDED:
            captured = payment.amount_minor
            return replace(payment, stripe_intent_id="pi_1", captured_minor=captured, fee_minor=88)
        case _:
            return payment


def at(
    payment: Payment,
    order: Order | None = None,
    *,
    other: bool = False,
    now: datetime = LATER,
    policy: SettlementPolicy = POLICY,
) -> Situation:
    return Situation(payment, order, other, now, policy)


def entries(change: Change | None, kind: JournalKind) -> list[Entry]:
    assert change is not None
    (journal,) = [journal for journal in change.journals if journal.kind is kind]
    return list(journal.entries)


@pytest.mark.parametrize(("answer", "status", "end"), CASES)
def test_every_answer_in_every_state(answer: str, status: str, end: str) -> None:
    order = an_order()
    payment = in_state(PaymentStatus(status), order)

    change = decide_charge(at(payment, order), ANSWERS[answer](payment))

    if end == "-":
        assert change is None
        return
    assert change is not None
    if end == "=":
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
    order = replace(order, status=first.order[1]) if first and first.order else order

    again = decide_charge(at(payment, order), told)

    if again is not None:
        assert (again.payment.status, again.payment.captured_minor) == (payment.status, payment.captured_minor)
        assert (again.journals, again.events, again.order, again.refund) == ((), (), None, None)


def test_success_books_charge_and_fee_and_pays_the_order() -> None:
    seller_id = UserId(uuid7())
    order = an_order([a_line(seller_id, 1999)])
    payment = in_state(PaymentStatus.PROCESSING, order)

    change = decide_charge(at(payment, order), succeeded(payment, fee_minor=88))

    assert change is not None
    assert entries(change, JournalKind.CHARGE) == [
        Entry(STRIPE_BALANCE, 1999),
        Entry(seller_payable(seller_id), -1949),
        Entry(COMMISSION_REVENUE, -50),
    ]
    assert entries(change, JournalKind.STRIPE_FEE) == [
        Entry(seller_payable(seller_id), 88),
        Entry(STRIPE_BALANCE, -88),
    ]
    assert {journal.source for journal in change.journals} == {f"ch_{payment.id}", f"txn_{payment.id}"}
    assert {journal.payment_id for journal in change.journals} == {payment.id}
    assert change.order == (order.id, OrderStatus.PAID)
    assert [event.type for event in change.events] == ["payment.succeeded", "order.paid"]
    assert (change.payment.captured_minor, change.payment.fee_minor, change.due_at) == (1999, 88, None)
    assert change.refund is None


def test_success_of_a_direct_payment_pays_its_seller() -> None:
    payment = in_state(PaymentStatus.PROCESSING)
    assert payment.seller_id is not None

    change = decide_charge(at(payment), succeeded(payment))

    assert entries(change, JournalKind.CHARGE)[1] == Entry(seller_payable(payment.seller_id), -1949)
    assert change is not None
    assert change.order is None


def test_platform_bears_the_fee_where_the_policy_says_so() -> None:
    payment = in_state(PaymentStatus.PROCESSING)
    policy = SettlementPolicy(seller_bears_stripe_fee=False)

    change = decide_charge(at(payment, policy=policy), succeeded(payment))

    assert entries(change, JournalKind.STRIPE_FEE)[0] == Entry(PROCESSING_FEES, 88)


SETTLED_IN_USD = StripeTransaction("txn_1", 2199, 94, "USD", Decimal("1.1"))


def books_of(change: Change | None) -> dict[tuple[str, str], int]:
    """What a change adds to each account, by currency."""
    assert change is not None
    books: Counter[tuple[str, str]] = Counter()
    for journal in change.journals:
        for entry in journal.entries:
            books[entry.account, journal.currency] += entry.amount_minor
    return {key: minor for key, minor in books.items() if minor}


def test_charge_that_stripe_settles_in_another_currency_is_exchanged() -> None:
    """19.99 EUR come as 21.99 USD less 0.94 USD; the seller is owed its part of the dollars, and bears the fee."""
    seller_id = UserId(uuid7())
    order = an_order([a_line(seller_id, 1999)], currency="EUR")
    payment = in_state(PaymentStatus.PROCESSING, order)

    change = decide_charge(at(payment, order), succeeded(payment, transaction=SETTLED_IN_USD))

    assert books_of(change) == {
        (STRIPE_BALANCE, "USD"): 2199 - 94,
        (seller_payable(seller_id), "USD"): -2144 + 94,
        (CURRENCY_CONVERSION, "USD"): -55,
        (COMMISSION_REVENUE, "EUR"): -50,
        (CURRENCY_CONVERSION, "EUR"): 50,
    }
    assert change is not None
    assert change.payment.fee_minor == 94
    assert [(journal.kind, journal.currency) for journal in change.journals] == [
        (JournalKind.CHARGE, "EUR"),
        (JournalKind.CONVERSION_CHARGED, "EUR"),
        (JournalKind.CONVERSION_SETTLED, "USD"),
        (JournalKind.STRIPE_FEE, "USD"),
    ]
    assert [journal.conversion for journal in change.journals if journal.conversion] == [
        Conversion("EUR", 1999, "USD", 2199, Decimal("1.1"))
    ]


def test_exchange_that_comes_late_is_booked_once() -> None:
    order = an_order(currency="EUR")
    payment = in_state(PaymentStatus.PROCESSING, order)
    paid = replace(order, status=OrderStatus.PAID)

    first = decide_charge(at(payment, order), succeeded(payment, fee_minor=None))
    assert first is not None
    late = succeeded(payment, transaction=SETTLED_IN_USD)
    second = decide_charge(at(first.payment, paid), late)

    assert books_of(first)[STRIPE_BALANCE, "EUR"] == 1999
    assert books_of(second)[STRIPE_BALANCE, "EUR"] == -1999
    assert second is not None
    assert decide_charge(at(second.payment, paid), late) is None


def test_platform_bears_the_fee_of_an_exchange_in_the_currency_that_stripe_took() -> None:
    payment = replace(in_state(PaymentStatus.PROCESSING), currency="EUR")
    policy = SettlementPolicy(seller_bears_stripe_fee=False)

    change = decide_charge(at(payment, policy=policy), succeeded(payment, transaction=SETTLED_IN_USD))

    assert entries(change, JournalKind.STRIPE_FEE) == [Entry(PROCESSING_FEES, 94), Entry(STRIPE_BALANCE, -94)]
    assert books_of(change)[CURRENCY_CONVERSION, "EUR"] == 50


def test_late_success_in_another_currency_is_exchanged_at_the_cost_of_the_platform() -> None:
    payment = replace(in_state(PaymentStatus.CANCELED), currency="EUR")

    change = decide_charge(at(payment), succeeded(payment, transaction=SETTLED_IN_USD))

    assert books_of(change) == {
        (STRIPE_BALANCE, "USD"): 2199 - 94,
        (CURRENCY_CONVERSION, "USD"): -2199,
        (PROCESSING_FEES, "USD"): 94,
        (CURRENCY_CONVERSION, "EUR"): 1999,
        (UNAPPLIED_CHARGES, "EUR"): -1999,
    }


@pytest.mark.parametrize(
    ("currency", "amount_minor", "settled_minor", "fee_minor", "owed_minor"),
    [("JPY", 1500, 975, 58, 950 - 58), ("KWD", 5000, 1630, 77, 1589 - 77), ("EUR", 1999, 2199, 1, 2144 - 1)],
)
def test_seller_is_owed_what_stripe_settled_less_commission_and_fee(
    currency: str, amount_minor: int, settled_minor: int, fee_minor: int, owed_minor: int
) -> None:
    payment = replace(in_state(PaymentStatus.PROCESSING), currency=currency, amount_minor=amount_minor)
    transaction = StripeTransaction("txn_1", settled_minor, fee_minor, "USD", Decimal("0.65"), NOW)

    change = decide_charge(at(payment), succeeded(payment, transaction=transaction))

    assert payment.seller_id is not None
    books = books_of(change)
    assert books[seller_payable(payment.seller_id), "USD"] == -owed_minor
    assert (seller_payable(payment.seller_id), currency) not in books
    assert change is not None
    assert change.payment.funds_available_at == NOW


def test_fee_of_nothing_is_known_and_not_booked() -> None:
    payment = in_state(PaymentStatus.PROCESSING)

    change = decide_charge(at(payment), succeeded(payment, fee_minor=0))

    assert change is not None
    assert (change.payment.fee_minor, change.due_at) == (0, None)
    assert [journal.kind for journal in change.journals] == [JournalKind.CHARGE]


def test_late_fee_is_asked_for_and_booked_once() -> None:
    order = an_order()
    payment = in_state(PaymentStatus.PROCESSING, order)

    first = decide_charge(at(payment, order), succeeded(payment, fee_minor=None))
    assert first is not None
    assert first.due_at == LATER + timedelta(seconds=1)
    paid = replace(order, status=OrderStatus.PAID)
    second = decide_charge(at(first.payment, paid), succeeded(payment, fee_minor=None))
    assert second is not None
    assert (second.due_at, second.journals) == (LATER + timedelta(seconds=1), ())
    third = decide_charge(at(second.payment, paid), succeeded(payment, fee_minor=88))
    assert third is not None
    assert (third.payment.fee_minor, third.due_at) == (88, None)
    assert [journal.kind for journal in third.journals] == [JournalKind.STRIPE_FEE]
    assert decide_charge(at(third.payment, paid), succeeded(payment, fee_minor=88)) is None


@pytest.mark.parametrize("status", sorted(DEAD))
def test_late_success_pays_an_order_that_is_still_pending(status: PaymentStatus) -> None:
    order = an_order()
    payment = in_state(status, order)

    change = decide_charge(at(payment, order), succeeded(payment))

    assert change is not None
    assert change.payment.status is PaymentStatus.SUCCEEDED
    assert change.payment.failure_code is None
    assert change.order == (order.id, OrderStatus.PAID)
    assert change.refund is None


@pytest.mark.parametrize("status", sorted(DEAD))
@pytest.mark.parametrize("reason", ["order is paid", "order is cancelled", "order has another", "direct"])
def test_late_success_that_pays_for_nothing_is_booked_and_refunded(status: PaymentStatus, reason: str) -> None:
    statuses = {"order is paid": OrderStatus.PAID, "order is cancelled": OrderStatus.CANCELLED}
    order = None if reason == "direct" else an_order(status=statuses.get(reason, OrderStatus.PENDING))
    payment = in_state(status, order)

    change = decide_charge(at(payment, order, other=reason == "order has another"), succeeded(payment))

    assert change is not None
    assert change.payment.status is status
    assert change.payment.captured_minor == 1999
    assert entries(change, JournalKind.UNAPPLIED_CHARGE) == [
        Entry(STRIPE_BALANCE, 1999),
        Entry(UNAPPLIED_CHARGES, -1999),
    ]
    assert entries(change, JournalKind.STRIPE_FEE) == [Entry(PROCESSING_FEES, 88), Entry(STRIPE_BALANCE, -88)]
    assert change.order is None
    assert change.refund is not None
    assert (change.refund.amount_minor, change.refund.stripe_charge_id) == (1999, f"ch_{payment.id}")
    (told,) = change.events
    assert (told.type, told.audience) == ("payment.captured_late", tuple(sorted(payment.parties(order))))


def test_success_for_an_order_that_is_paid_already_is_canceled_and_refunded() -> None:
    order = an_order(status=OrderStatus.PAID)
    payment = in_state(PaymentStatus.REQUIRES_ACTION, order)

    change = decide_charge(at(payment, order), succeeded(payment))

    assert change is not None
    assert change.payment.status is PaymentStatus.CANCELED
    assert change.payment.client_secret is None
    assert change.refund is not None


@pytest.mark.parametrize(
    ("known", "changes"),
    [
        (None, {"currency": "EUR"}),
        (None, {"received_minor": 0}),
        ("pi_1", {"intent_id": "pi_2"}),
    ],
    ids=["another currency", "no money", "a second intent"],
)
def test_capture_that_cannot_be_booked_is_refused(known: str | None, changes: dict[str, object]) -> None:
    payment = replace(in_state(PaymentStatus.PROCESSING), stripe_intent_id=known)

    with pytest.raises(Refused):
        decide_charge(at(payment), succeeded(payment, **changes))


def test_news_of_another_intent_without_money_is_no_news() -> None:
    payment = in_state(PaymentStatus.REQUIRES_ACTION)

    assert decide_charge(at(payment), replace(declined(payment), intent_id="pi_2")) is None


def test_declined_is_remembered_until_its_intent_is_canceled() -> None:
    payment = in_state(PaymentStatus.PROCESSING)

    remembered = decide_charge(at(payment), declined(payment, "lost_card"))
    assert remembered is not None
    assert remembered.payment.status is PaymentStatus.PROCESSING
    assert remembered.payment.stripe_intent_id == f"pi_{payment.id}"
    canceled = decide_charge(at(remembered.payment), an_intent(IntentStatus.CANCELED, remembered.payment))

    assert canceled is not None
    assert (canceled.payment.status, canceled.payment.failure_code) == (PaymentStatus.FAILED, "lost_card")
    assert canceled.due_at is None


def test_waiting_for_the_customer_shows_the_client_secret_and_giving_up_hides_it() -> None:
    payment = in_state(PaymentStatus.PROCESSING)

    waiting = decide_charge(at(payment), an_intent(IntentStatus.REQUIRES_ACTION, payment, client_secret="s"))
    assert waiting is not None
    assert (waiting.payment.client_secret, waiting.due_at) == ("s", LATER + ACTION_POLL)
    over = decide_charge(at(waiting.payment), an_intent(IntentStatus.CANCELED, waiting.payment))

    assert over is not None
    assert over.payment.client_secret is None


def test_reserved_money_waits_for_its_capture() -> None:
    payment = in_state(PaymentStatus.PROCESSING)

    change = decide_charge(at(payment), an_intent(IntentStatus.REQUIRES_CAPTURE, payment, client_secret="s"))

    assert change is not None
    assert (change.payment.client_secret, change.due_at) == (None, LATER + CAPTURE_POLL)
    assert change.journals == ()


@pytest.mark.parametrize("wish", [{"capture_minor": 1000}, {"cancel_requested": True}])
def test_authorized_payment_on_which_somebody_decided_is_looked_at_soon(wish: dict[str, Any]) -> None:
    for status in (PaymentStatus.PROCESSING, PaymentStatus.REQUIRES_CAPTURE):
        payment = replace(in_state(status), **wish)

        change = decide_charge(at(payment), an_intent(IntentStatus.REQUIRES_CAPTURE, payment))

        assert change is not None
        assert change.due_at == LATER + timedelta(seconds=1)


def test_payer_who_stays_away_is_looked_at_when_the_time_is_over() -> None:
    policy = SettlementPolicy(action_ttl_s=90)
    payment = in_state(PaymentStatus.PROCESSING)

    first = decide_charge(at(payment, policy=policy), an_intent(IntentStatus.REQUIRES_ACTION, payment))
    assert first is not None
    late = LATER + timedelta(seconds=95)
    again = decide_charge(
        at(first.payment, now=late, policy=policy), an_intent(IntentStatus.REQUIRES_ACTION, first.payment)
    )

    assert first.due_at == LATER + timedelta(seconds=90)
    assert again is not None
    assert again.due_at == late


def test_refused_capture_is_told_and_may_be_asked_for_in_another_way() -> None:
    payment = replace(in_state(PaymentStatus.REQUIRES_CAPTURE), capture_minor=10)

    change = decide_charge(at(payment), CaptureRefused("amount_too_small"))

    assert change is not None
    assert (change.payment.capture_minor, change.drops_wish) == (None, True)
    assert change.due_at == LATER + CAPTURE_POLL
    (told,) = change.events
    assert (told.type, dict(told.data)) == (
        "payment.capture_failed",
        {"amount_minor": 10, "failure_code": "amount_too_small"},
    )


def test_payment_that_was_to_be_cancelled_and_never_arrived_is_canceled() -> None:
    payment = replace(in_state(PaymentStatus.UNKNOWN), cancel_requested=True, lookup_only=True)

    change = decide_charge(at(payment, now=NOW + timedelta(days=1)), Absent())

    assert change is not None
    assert (change.payment.status, change.payment.failure_code) == (PaymentStatus.CANCELED, None)


def test_partial_capture_books_what_was_received() -> None:
    payment = in_state(PaymentStatus.REQUIRES_CAPTURE)

    change = decide_charge(at(payment), succeeded(payment, received_minor=1000))

    assert change is not None
    assert change.payment.captured_minor == 1000
    assert entries(change, JournalKind.CHARGE)[0] == Entry(STRIPE_BALANCE, 1000)


def test_recorded_error_forbids_to_use_the_key_again() -> None:
    payment = in_state(PaymentStatus.UNKNOWN)

    recorded = decide_charge(at(payment), Unsure("replayed 500", lookup_only=True))
    assert recorded is not None
    unsure = decide_charge(at(recorded.payment), Unsure("timeout"))

    assert unsure is not None
    assert recorded.payment.lookup_only
    assert unsure.payment.lookup_only


@pytest.mark.parametrize("status", [PaymentStatus.PROCESSING, PaymentStatus.UNKNOWN])
def test_absent_payment_is_given_up_only_after_the_grace(status: PaymentStatus) -> None:
    """The grace begins at the first absence: an attempt of a moment before may still arrive."""
    long_ago = NOW - timedelta(hours=24)
    payment = replace(in_state(status), first_charged_at=long_ago, created_at=long_ago, updated_at=long_ago)
    grace = timedelta(seconds=POLICY.lookup_grace_s)

    first = decide_charge(at(payment, now=NOW), Absent())
    assert first is not None
    assert (first.payment.status, first.payment.lookup_only) == (PaymentStatus.UNKNOWN, True)
    within = decide_charge(at(first.payment, now=NOW + grace - timedelta(seconds=1)), Absent())
    assert within is not None
    assert within.payment == first.payment
    after = decide_charge(at(within.payment, now=NOW + grace), Absent())

    assert after is not None
    assert (after.payment.status, after.payment.failure_code) == (PaymentStatus.FAILED, "charge_not_made")


def test_absence_says_nothing_once_the_intent_turned_up() -> None:
    """A webhook told of the intent while the list was read."""
    payment = replace(in_state(PaymentStatus.REQUIRES_ACTION), lookup_only=True)

    change = decide_charge(at(payment, now=NOW + timedelta(days=2)), Absent())

    assert change is not None
    assert change.payment == payment


def test_throttling_comes_back_when_stripe_says() -> None:
    payment = in_state(PaymentStatus.PROCESSING)

    patient = decide_charge(at(payment), Throttled("rate limit", retry_after_s=17))
    impatient = decide_charge(at(payment), Throttled("rate limit", retry_after_s=0.1))

    assert patient is not None
    assert patient.due_at == LATER + timedelta(seconds=17)
    assert impatient is not None
    assert impatient.due_at == LATER + timedelta(seconds=1)
    assert patient.payment == payment


@pytest.mark.parametrize(
    ("attempts", "delay_s"), [(0, 1), (1, 1), (2, 2), (5, 16), (9, 256), (10, 300), (10_000, 300)]
)
def test_retries_are_exponential_and_capped(attempts: int, delay_s: int) -> None:
    assert retry_delay(attempts, POLICY) == timedelta(seconds=delay_s)


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
        if change.order is not None:
            assert change.order[1] in ORDER_TRANSITIONS[self.order.status]
            self.order = replace(self.order, status=change.order[1])
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
