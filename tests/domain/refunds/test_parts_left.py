"""What refunds and disputes leave of a payment's lines: whatever their order, together they come to the whole."""

from collections import Counter
from collections.abc import Iterable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from domain.disputes.model import Dispute, DisputeFunds
from domain.ledger.postings import Part, take
from domain.payments.model import PaymentStatus
from domain.refunds.model import Refund, RefundStatus
from domain.refunds.rules import parts_left
from tests.builders import a_dispute, a_line, a_payment, a_refund, an_order

PRICES = st.lists(st.integers(1, 3000), min_size=1, max_size=4)
TAKERS = st.lists(
    st.tuples(st.sampled_from(["refund", "failed refund", "dispute"]), st.integers(1, 5000)), max_size=6
)


def by_line(parts: Iterable[Part]) -> Counter[tuple[int, str]]:
    """Add up what falls on each line, and how much of it is commission."""
    sums: Counter[tuple[int, str]] = Counter()
    for part in parts:
        sums[part.line, "amount"] += part.amount_minor
        sums[part.line, "commission"] += part.commission_minor
    return sums


@given(PRICES, TAKERS)
def test_what_is_taken_in_parts_comes_to_the_whole(prices: list[int], takers: Sequence[tuple[str, int]]) -> None:
    order = an_order([a_line(price_minor=price) for price in prices])
    captured = order.amount_minor
    payment = a_payment(order, status=PaymentStatus.SUCCEEDED, captured_minor=captured)
    refunds: list[Refund] = []
    disputes: list[Dispute] = []
    taken: list[Part] = []
    for what, wanted_minor in [*takers, ("refund", captured)]:
        left = [part for part in parts_left(payment, order, refunds, disputes) if part.amount_minor]
        amount_minor = min(wanted_minor, sum(part.amount_minor for part in left))
        if not amount_minor:
            break
        parts = take(amount_minor, left)
        if what == "dispute":
            lost = {"withdrawn_minor": amount_minor, "funds": DisputeFunds.LOST}
            disputes.append(a_dispute(payment, amount_minor=amount_minor, **lost))
        else:
            status = RefundStatus.FAILED if what == "failed refund" else RefundStatus.SUCCEEDED
            refunds.append(a_refund(payment, amount_minor=amount_minor, lines=tuple(parts), status=status))
        taken += parts if what != "failed refund" else ()

    assert by_line(taken) == by_line(parts_left(payment, order, ()))
    assert not any(by_line(parts_left(payment, order, refunds, disputes)).values())


def test_dispute_that_took_again_after_a_refund_leaves_what_the_refund_has_left() -> None:
    """It took in proportion when it was new, and of the other line alone when it took again."""
    order = an_order([a_line(price_minor=1000), a_line(price_minor=1000)])
    payment = a_payment(order, status=PaymentStatus.SUCCEEDED, captured_minor=2000)
    dispute = a_dispute(payment, amount_minor=500, withdrawn_minor=500, funds=DisputeFunds.WITHDRAWN)
    whole = (Part(2, order.lines[1].seller_id, 1000, 25),)
    refund = a_refund(payment, amount_minor=1000, lines=whole, status=RefundStatus.SUCCEEDED)

    left = parts_left(payment, order, [refund], [dispute])

    assert [part.amount_minor for part in left] == [1000, 0]
