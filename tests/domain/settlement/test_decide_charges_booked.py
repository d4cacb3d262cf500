"""What the success of a charge books, in one currency or in two, and who bears Stripe's fee."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

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
    JournalKind,
    seller_payable,
)
from domain.orders.model import OrderStatus
from domain.payments.model import PaymentStatus
from domain.settlement.answers import StripeTransaction
from domain.settlement.decide.charges import decide_charge
from domain.settlement.model import PaymentChange, SettlementPolicy
from tests.builders import NOW, a_line, an_order
from tests.domain.settlement.charge_situations import LATER, at, entries, in_state
from tests.stripe_answers import succeeded


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
    assert change.paid_order_id == order.id
    assert [event.type for event in change.events] == ["payment.succeeded", "order.paid"]
    assert change.events[1].data["payment_id"] == str(payment.id)
    assert (change.payment.captured_minor, change.payment.fee_minor, change.due_at) == (1999, 88, None)
    assert change.refund is None


def test_success_leaves_the_payer_no_secret() -> None:
    payment = in_state(PaymentStatus.REQUIRES_ACTION)

    change = decide_charge(at(payment), succeeded(payment))

    assert change is not None
    assert (payment.client_secret, change.payment.client_secret) == ("pi_1_secret", None)


@pytest.mark.parametrize("status", [PaymentStatus.PROCESSING, PaymentStatus.CANCELED], ids=["applied", "late"])
def test_money_that_stripe_names_no_charge_of_is_booked_under_its_intent(status: PaymentStatus) -> None:
    payment = in_state(status)
    intent = succeeded(payment, charge_id=None, fee_minor=None)

    change = decide_charge(at(payment), intent)

    assert change is not None
    assert [journal.source for journal in change.journals] == [intent.intent_id]


def test_success_of_a_direct_payment_pays_its_seller() -> None:
    payment = in_state(PaymentStatus.PROCESSING)
    assert payment.seller_id is not None

    change = decide_charge(at(payment), succeeded(payment))

    assert entries(change, JournalKind.CHARGE)[1] == Entry(seller_payable(payment.seller_id), -1949)
    assert change is not None
    assert change.paid_order_id is None


def test_platform_bears_the_fee_where_the_policy_says_so() -> None:
    payment = in_state(PaymentStatus.PROCESSING)
    policy = SettlementPolicy(seller_bears_stripe_fee=False)

    change = decide_charge(at(payment, policy=policy), succeeded(payment))

    assert entries(change, JournalKind.STRIPE_FEE)[0] == Entry(PROCESSING_FEES, 88)


SELLER = UserId(uuid7())
SETTLED_IN_USD = StripeTransaction("txn_1", 2199, 94, "USD", Decimal("1.1"))


def books_of(change: PaymentChange | None) -> dict[tuple[str, str], int]:
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
    """The seller is owed its part in dollars from then on, as if they had come at once."""
    order = an_order([a_line(SELLER, 1999)], currency="EUR")
    payment = in_state(PaymentStatus.PROCESSING, order)
    paid = replace(order, status=OrderStatus.PAID)

    first = decide_charge(at(payment, order), succeeded(payment, fee_minor=None))
    assert first is not None
    late = succeeded(payment, transaction=SETTLED_IN_USD)
    second = decide_charge(at(first.payment, paid), late)

    assert books_of(first)[STRIPE_BALANCE, "EUR"] == 1999
    assert books_of(second) == {
        (STRIPE_BALANCE, "EUR"): -1999,
        (seller_payable(SELLER), "EUR"): 1949,
        (CURRENCY_CONVERSION, "EUR"): 50,
        (STRIPE_BALANCE, "USD"): 2199 - 94,
        (seller_payable(SELLER), "USD"): -2144 + 94,
        (CURRENCY_CONVERSION, "USD"): -55,
    }
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


def test_exchange_of_a_late_success_that_comes_late_is_owed_to_nobody() -> None:
    payment = replace(in_state(PaymentStatus.CANCELED), currency="EUR")

    first = decide_charge(at(payment), succeeded(payment, fee_minor=None))
    assert first is not None
    second = decide_charge(at(first.payment), succeeded(payment, transaction=SETTLED_IN_USD))

    assert books_of(second) == {
        (STRIPE_BALANCE, "EUR"): -1999,
        (CURRENCY_CONVERSION, "EUR"): 1999,
        (STRIPE_BALANCE, "USD"): 2199 - 94,
        (CURRENCY_CONVERSION, "USD"): -2199,
        (PROCESSING_FEES, "USD"): 94,
    }


@pytest.mark.parametrize(
    ("currency", "authorized_minor", "captured_minor", "rate", "whole_minor", "captured_part_minor"),
    [("USD", 1999, 1000, "1.1", 2199, 1100), ("JPY", 1500, 700, "0.0065", 975, 455)],
)
def test_exchange_of_all_that_was_authorized_is_refused_where_a_part_was_captured(
    currency: str,
    authorized_minor: int,
    captured_minor: int,
    rate: str,
    whole_minor: int,
    captured_part_minor: int,
) -> None:
    """Stripe takes the rest of it out again, but sellers would be owed of the whole by then."""
    payment = replace(in_state(PaymentStatus.PROCESSING), currency=currency, amount_minor=authorized_minor)

    def decide(exchanged_minor: int) -> PaymentChange | None:
        moved = StripeTransaction("txn_1", exchanged_minor, 10, "EUR", Decimal(rate))
        return decide_charge(at(payment), succeeded(payment, received_minor=captured_minor, transaction=moved))

    assert books_of(decide(captured_part_minor))[STRIPE_BALANCE, "EUR"] == captured_part_minor - 10
    with pytest.raises(Refused, match="exchanged more than was captured"):
        decide(whole_minor)


@pytest.mark.parametrize(
    ("settled_in", "rate", "whole_minor", "captured_part_minor"),
    [("CAD", "1.4", 2799, 1400), ("CHF", "0.9", 1799, 900), ("KRW", "1400", 27986, 14000)],
)
def test_part_of_an_authorization_is_booked_in_whatever_currency_stripe_settles_in(
    settled_in: str, rate: str, whole_minor: int, captured_part_minor: int
) -> None:
    """An error that is no refusal would hold up all payments of the batch, again and again."""
    payment = in_state(PaymentStatus.PROCESSING)

    def decide(exchanged_minor: int) -> PaymentChange | None:
        moved = StripeTransaction("txn_1", exchanged_minor, 10, settled_in, Decimal(rate))
        return decide_charge(at(payment), succeeded(payment, received_minor=1000, transaction=moved))

    assert books_of(decide(captured_part_minor))[STRIPE_BALANCE, settled_in] == captured_part_minor - 10
    with pytest.raises(Refused, match="exchanged more than was captured"):
        decide(whole_minor)


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
    assert first.payment.funds_available_at is None
    second = decide_charge(at(first.payment, paid), succeeded(payment, fee_minor=None))
    assert second is not None
    assert (second.due_at, second.journals) == (LATER + timedelta(seconds=1), ())
    third = decide_charge(at(second.payment, paid), succeeded(payment, fee_minor=88))
    assert third is not None
    assert (third.payment.fee_minor, third.due_at) == (88, None)
    assert third.payment.funds_available_at == NOW, "else nobody is ever paid out of it"
    assert [journal.kind for journal in third.journals] == [JournalKind.STRIPE_FEE]
    assert decide_charge(at(third.payment, paid), succeeded(payment, fee_minor=88)) is None


def test_partial_capture_books_what_was_received() -> None:
    payment = in_state(PaymentStatus.REQUIRES_CAPTURE)

    change = decide_charge(at(payment), succeeded(payment, received_minor=1000))

    assert change is not None
    assert change.payment.captured_minor == 1000
    assert entries(change, JournalKind.CHARGE)[0] == Entry(STRIPE_BALANCE, 1000)


def test_least_that_can_be_captured_is_booked() -> None:
    payment = in_state(PaymentStatus.PROCESSING)

    change = decide_charge(at(payment), succeeded(payment, received_minor=1, fee_minor=0))

    assert entries(change, JournalKind.CHARGE)[0] == Entry(STRIPE_BALANCE, 1)


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
