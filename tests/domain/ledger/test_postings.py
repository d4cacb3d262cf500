"""A worked example for each posting rule, and that all of them balance."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ids import UserId, uuid7
from domain.ledger.model import (
    BANK,
    COMMISSION_REVENUE,
    CURRENCY_CONVERSION,
    DISPUTED_FUNDS,
    PROCESSING_FEES,
    STRIPE_BALANCE,
    UNAPPLIED_CHARGES,
    Entry,
    seller_disputed,
    seller_payable,
)
from domain.ledger.postings import (
    Part,
    Share,
    exchange_shares,
    post_bank_payout,
    post_charge,
    post_conversion,
    post_dispute_lost,
    post_dispute_opened,
    post_dispute_won,
    post_lost_dispute_won,
    post_payout,
    post_payout_reversed,
    post_refund,
    post_stripe_fee,
    post_unapplied_charge,
    post_unapplied_refund,
    seller_entries,
    split_charge,
    take,
    undo,
)
from tests.builders import a_journal

ANN, BOB = UserId(uuid7()), UserId(uuid7())

shares_of_both = st.lists(
    st.builds(Share, st.sampled_from([ANN, BOB]), st.integers(1, 10**7), st.integers(0, 10_000)),
    min_size=1,
    max_size=8,
)


def legs(entries: tuple[Entry, ...]) -> list[tuple[str, int]]:
    return [(entry.account, entry.amount_minor) for entry in entries]


def test_charge_is_split_between_the_seller_and_the_commission() -> None:
    entries = post_charge(1999, [Share(ANN, 1999, 250)])

    assert legs(entries) == [(STRIPE_BALANCE, 1999), (seller_payable(ANN), -1949), (COMMISSION_REVENUE, -50)]


def test_commission_is_rounded_on_each_line() -> None:
    entries = post_charge(120, [Share(ANN, 60, 250), Share(ANN, 60, 250)])

    # 1.5 goes to 2 on each line; 3.0 on the sum would be 3.
    assert legs(entries) == [(STRIPE_BALANCE, 120), (seller_payable(ANN), -116), (COMMISSION_REVENUE, -4)]


def test_several_sellers_get_their_lines_at_their_own_commissions() -> None:
    entries = post_charge(2500, [Share(ANN, 1999, 250), Share(BOB, 501, 1000)])

    assert legs(entries) == [
        (STRIPE_BALANCE, 2500),
        (seller_payable(ANN), -1949),
        (COMMISSION_REVENUE, -100),
        (seller_payable(BOB), -451),
    ]


def test_partial_capture_falls_on_the_lines_in_proportion() -> None:
    entries = post_charge(1000, [Share(ANN, 2000, 250), Share(BOB, 1000, 250)])

    # 667 and 333, of which 17 (16.675) and 8 (8.325) are commission.
    assert legs(entries) == [
        (STRIPE_BALANCE, 1000),
        (seller_payable(ANN), -650),
        (COMMISSION_REVENUE, -25),
        (seller_payable(BOB), -325),
    ]


@pytest.mark.parametrize(
    ("bps", "owed"),
    [(250, [(seller_payable(ANN), -1)]), (10_000, [(COMMISSION_REVENUE, -1)])],
)
def test_charge_of_one_unit_has_no_empty_leg(bps: int, owed: list[tuple[str, int]]) -> None:
    assert legs(post_charge(1, [Share(ANN, 1, bps)])) == [(STRIPE_BALANCE, 1), *owed]


def test_fee_is_borne_by_the_seller() -> None:
    entries = post_stripe_fee(88, [Share(ANN, 1999, 250)], seller_bears=True)

    assert legs(entries) == [(seller_payable(ANN), 88), (STRIPE_BALANCE, -88)]


def test_fee_is_borne_by_several_sellers_by_line() -> None:
    entries = post_stripe_fee(88, [Share(ANN, 1999, 250), Share(BOB, 501, 250)], seller_bears=True)

    assert legs(entries) == [(seller_payable(ANN), 70), (seller_payable(BOB), 18), (STRIPE_BALANCE, -88)]


def test_fee_is_borne_by_the_platform_where_it_says_so() -> None:
    entries = post_stripe_fee(88, [Share(ANN, 1999, 250)], seller_bears=False)

    assert legs(entries) == [(PROCESSING_FEES, 88), (STRIPE_BALANCE, -88)]


def test_refund_takes_back_from_the_seller_and_from_the_commission() -> None:
    parts = take(1000, split_charge(1999, [Share(ANN, 1999, 250)]))

    # 50 of 1999 were commission; of 1000 that is 25.01.
    assert legs(post_refund(parts)) == [
        (seller_payable(ANN), 975),
        (COMMISSION_REVENUE, 25),
        (STRIPE_BALANCE, -1000),
    ]


def test_refund_falls_on_several_sellers_by_line() -> None:
    parts = take(1000, split_charge(2500, [Share(ANN, 1999, 250), Share(BOB, 501, 1000)]))

    # 800 of Ann's 1999 and 200 of Bob's 501; 20 of Ann's 50 and 20 of Bob's 50 are commission.
    assert legs(post_refund(parts)) == [
        (seller_payable(ANN), 780),
        (COMMISSION_REVENUE, 40),
        (seller_payable(BOB), 180),
        (STRIPE_BALANCE, -1000),
    ]


def test_last_refund_takes_the_remainders() -> None:
    left = split_charge(1999, [Share(ANN, 1999, 250)])
    (first,) = take(1000, left)
    rest = [replace(left[0], amount_minor=999, commission_minor=50 - first.commission_minor)]

    assert legs(post_refund(take(999, rest))) == [
        (seller_payable(ANN), 974),
        (COMMISSION_REVENUE, 25),
        (STRIPE_BALANCE, -999),
    ]


def test_refund_that_failed_is_taken_back_leg_by_leg() -> None:
    parts = take(1000, split_charge(1999, [Share(ANN, 1999, 250)]))

    assert legs(undo(post_refund(parts))) == [
        (seller_payable(ANN), -975),
        (COMMISSION_REVENUE, -25),
        (STRIPE_BALANCE, 1000),
    ]


def opened(*shares: Share) -> tuple[Entry, ...]:
    """What a dispute of all of a charge takes."""
    captured = sum(share.amount_minor for share in shares)
    return post_dispute_opened(captured, split_charge(captured, shares))


def test_opened_dispute_holds_the_share_of_the_seller() -> None:
    assert legs(opened(Share(ANN, 1999, 250))) == [
        (DISPUTED_FUNDS, 1999),
        (STRIPE_BALANCE, -1999),
        (seller_payable(ANN), 1949),
        (seller_disputed(ANN), -1949),
    ]


def test_opened_dispute_of_several_sellers_holds_the_share_of_each() -> None:
    entries = opened(Share(ANN, 1999, 250), Share(BOB, 501, 1000), Share(ANN, 100, 0))

    assert legs(entries) == [
        (DISPUTED_FUNDS, 2600),
        (STRIPE_BALANCE, -2600),
        (seller_payable(ANN), 2049),
        (seller_disputed(ANN), -2049),
        (seller_payable(BOB), 451),
        (seller_disputed(BOB), -451),
    ]


def test_won_dispute_leaves_all_as_it_was() -> None:
    assert legs(post_dispute_won(opened(Share(ANN, 1999, 250)))) == [
        (DISPUTED_FUNDS, -1999),
        (STRIPE_BALANCE, 1999),
        (seller_payable(ANN), -1949),
        (seller_disputed(ANN), 1949),
    ]


def test_lost_dispute_costs_the_seller_its_share_and_the_platform_its_commission() -> None:
    assert legs(post_dispute_lost(opened(Share(ANN, 1999, 250)), COMMISSION_REVENUE)) == [
        (seller_disputed(ANN), 1949),
        (COMMISSION_REVENUE, 50),
        (DISPUTED_FUNDS, -1999),
    ]


def test_dispute_that_is_won_after_it_was_lost_gives_both_back() -> None:
    assert sorted(legs(post_lost_dispute_won(opened(Share(ANN, 1999, 250)), COMMISSION_REVENUE))) == sorted(
        [(STRIPE_BALANCE, 1999), (seller_payable(ANN), -1949), (COMMISSION_REVENUE, -50)]
    )


def test_dispute_of_money_that_paid_for_nothing_costs_the_platform() -> None:
    entries = post_dispute_opened(1999, [])

    assert legs(entries) == [(DISPUTED_FUNDS, 1999), (STRIPE_BALANCE, -1999)]
    assert legs(post_dispute_lost(entries, UNAPPLIED_CHARGES)) == [
        (UNAPPLIED_CHARGES, 1999),
        (DISPUTED_FUNDS, -1999),
    ]


@given(shares_of_both, st.data())
def test_disputes_balance_and_hold_nothing_in_the_end(shares: list[Share], data: st.DataObject) -> None:
    captured = data.draw(st.integers(1, sum(share.amount_minor for share in shares)))
    entries = post_dispute_opened(captured, split_charge(captured, shares))
    ends = [post_dispute_won(entries), post_dispute_lost(entries, COMMISSION_REVENUE)]
    late = post_lost_dispute_won(entries, COMMISSION_REVENUE)

    for end in ends:
        books = Counter(dict(legs(entries)))
        books.update(dict(legs(end)))
        held = [minor for account, minor in books.items() if "disputed" in account]
        assert not any(held)
        assert sum(entry.amount_minor for entry in end) == 0
    books = Counter(dict(legs(entries)))
    for end in (ends[1], late):
        books.update(dict(legs(end)))
    assert not any(books.values())


def test_exchange_leaves_one_currency_and_enters_the_other() -> None:
    """19.99 EUR that Stripe settles as 21.99 USD."""
    assert legs(post_conversion(-1999)) == [(STRIPE_BALANCE, -1999), (CURRENCY_CONVERSION, 1999)]
    assert legs(post_conversion(2199)) == [(STRIPE_BALANCE, 2199), (CURRENCY_CONVERSION, -2199)]


def test_exchange_takes_along_what_sellers_are_owed() -> None:
    """Of 19.99 EUR 14.62 and 4.87 are the sellers'; of the 21.99 USD that they became, 16.08 and 5.36."""
    shares = (Entry(seller_payable(ANN), -1462), Entry(seller_payable(BOB), -487))

    assert exchange_shares(shares, 1999, 2199) == (
        Entry(seller_payable(ANN), -1608),
        Entry(seller_payable(BOB), -536),
    )
    assert legs(post_conversion(-1999, undo(shares))) == [
        (STRIPE_BALANCE, -1999),
        (seller_payable(ANN), 1462),
        (seller_payable(BOB), 487),
        (CURRENCY_CONVERSION, 50),
    ]
    assert legs(post_conversion(2199, exchange_shares(shares, 1999, 2199))) == [
        (STRIPE_BALANCE, 2199),
        (seller_payable(ANN), -1608),
        (seller_payable(BOB), -536),
        (CURRENCY_CONVERSION, -55),
    ]


@given(shares_of_both, st.data())
def test_exchange_divides_what_was_settled_to_the_last_unit(shares: list[Share], data: st.DataObject) -> None:
    captured = data.draw(st.integers(1, sum(share.amount_minor for share in shares)))
    settled = data.draw(st.integers(1, 10**8))
    charge = seller_entries(post_charge(captured, shares))

    for owed, sign in ((charge, 1), (undo(charge), -1)):
        exchanged = exchange_shares(owed, sign * captured, sign * settled)
        back = exchange_shares(undo(owed), -sign * captured, -sign * settled)

        assert sum(entry.amount_minor for entry in post_conversion(sign * settled, exchanged)) == 0
        assert back == undo(exchanged)
        before = {entry.account: entry.amount_minor for entry in owed}
        for entry in exchanged:
            exact = before[entry.account] * settled / captured
            assert abs(entry.amount_minor - exact) <= 1 + abs(exact) / 10**9


def test_unapplied_charge_is_owed_to_the_payer() -> None:
    assert legs(post_unapplied_charge(1999)) == [(STRIPE_BALANCE, 1999), (UNAPPLIED_CHARGES, -1999)]


def test_unapplied_refund_returns_what_was_owed() -> None:
    assert legs(post_unapplied_refund(1999)) == [(UNAPPLIED_CHARGES, 1999), (STRIPE_BALANCE, -1999)]


@given(shares_of_both, st.data())
def test_charge_balances_and_nobody_is_owed_less_than_nothing(shares: list[Share], data: st.DataObject) -> None:
    captured = data.draw(st.integers(1, sum(share.amount_minor for share in shares)))

    entries = post_charge(captured, shares)

    assert sum(entry.amount_minor for entry in entries) == 0
    assert entries[0] == Entry(STRIPE_BALANCE, captured)
    assert all(entry.amount_minor < 0 for entry in entries[1:])
    assert len({entry.account for entry in entries}) == len(entries)


@given(shares_of_both, st.integers(1, 10**6), st.booleans())
def test_fee_balances(shares: list[Share], fee_minor: int, seller_bears: bool) -> None:  # noqa: FBT001
    entries = post_stripe_fee(fee_minor, shares, seller_bears=seller_bears)

    assert sum(entry.amount_minor for entry in entries) == 0
    assert entries[-1] == Entry(STRIPE_BALANCE, -fee_minor)
    assert all(entry.amount_minor > 0 for entry in entries[:-1])


@given(shares_of_both, st.data())
def test_refunds_of_any_sizes_return_exactly_what_was_charged(shares: list[Share], data: st.DataObject) -> None:
    captured = data.draw(st.integers(1, sum(share.amount_minor for share in shares)))
    left = split_charge(captured, shares)
    books: Counter[str] = Counter(dict(legs(post_charge(captured, shares))))

    while captured:
        amount_minor = data.draw(st.integers(1, captured) | st.just(captured))
        parts = take(amount_minor, left)
        assert sum(part.amount_minor for part in parts) == amount_minor
        taken = {part.line: part for part in parts}
        left = [minus(part, taken.get(part.line)) for part in left]
        assert all(0 <= part.commission_minor <= part.amount_minor for part in [*parts, *left])
        books.update(dict(legs(post_refund(parts))))
        captured -= amount_minor

    assert not any(books.values())


def minus(part: Part, taken: Part | None) -> Part:
    if taken is None:
        return part
    return replace(
        part,
        amount_minor=part.amount_minor - taken.amount_minor,
        commission_minor=part.commission_minor - taken.commission_minor,
    )


@pytest.mark.parametrize(
    "entries",
    [
        [(STRIPE_BALANCE, 2), (COMMISSION_REVENUE, -1)],
        [(STRIPE_BALANCE, 0), (COMMISSION_REVENUE, 0)],
        [(STRIPE_BALANCE, 1)],
    ],
)
def test_journal_that_does_not_balance_cannot_be_made(entries: list[tuple[str, int]]) -> None:
    with pytest.raises(AssertionError):
        a_journal(*entries)


def test_payout_takes_from_the_seller_what_is_transferred() -> None:
    entries = post_payout(1861, ANN)

    assert legs(entries) == [(seller_payable(ANN), 1861), (STRIPE_BALANCE, -1861)]


def test_payout_owes_on_what_stripe_does_not_move() -> None:
    # 19.497 KWD are owed; Stripe moves multiples of 0.010.
    entries = post_payout(19_490, ANN, carried_minor=7)

    assert legs(entries) == [(seller_payable(ANN), 19_497), (STRIPE_BALANCE, -19_490), (seller_payable(ANN), -7)]


def test_reversed_payout_is_owed_to_the_seller_again() -> None:
    entries = post_payout_reversed(975, ANN)

    assert legs(entries) == [(STRIPE_BALANCE, 975), (seller_payable(ANN), -975)]


def test_payout_to_our_own_bank_moves_the_balance_there_and_back_if_the_bank_does_not_take_it() -> None:
    assert legs(post_bank_payout(-5000)) == [(BANK, 5000), (STRIPE_BALANCE, -5000)]
    assert legs(post_bank_payout(5000)) == [(BANK, -5000), (STRIPE_BALANCE, 5000)]
