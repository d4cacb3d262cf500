import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.money import (
    CURRENCY_DECIMALS,
    SETTLED_CURRENCIES,
    allocate,
    check_amount,
    commission_minor,
    decimals_of,
    major,
)

MAX_MINOR = 99_999_999
weights = st.lists(st.integers(0, 10**8), min_size=1, max_size=20).filter(any)


@pytest.mark.parametrize(
    ("amount_minor", "bps", "commission"),
    [
        (1999, 250, 50),  # 49.975
        (20, 250, 0),  # 0.5 goes to the even 0
        (60, 250, 2),  # 1.5 goes to the even 2
        (100, 250, 2),  # 2.5 goes to the even 2
        (140, 250, 4),  # 3.5 goes to the even 4
        (1, 250, 0),
        (1, 10_000, 1),
        (12_345, 0, 0),
    ],
)
def test_commission_is_rounded_half_to_even(amount_minor: int, bps: int, commission: int) -> None:
    assert commission_minor(amount_minor, bps) == commission


@given(st.integers(1, MAX_MINOR), st.integers(0, 10_000))
def test_commission_is_off_by_half_a_unit_at_most(amount_minor: int, bps: int) -> None:
    commission = commission_minor(amount_minor, bps)

    assert 0 <= commission <= amount_minor
    assert abs(commission * 10_000 - amount_minor * bps) <= 5_000


def test_remainders_go_to_the_largest_then_to_the_earlier_share() -> None:
    assert allocate(100, [1, 1, 1]) == [34, 33, 33]
    assert allocate(10, [1, 2, 3]) == [2, 3, 5]  # 1.67, 3.33, 5
    assert allocate(1, [1, 3]) == [0, 1]


@given(st.integers(0, MAX_MINOR), weights)
def test_shares_sum_to_the_total_and_none_is_off_by_a_unit(total_minor: int, weights: list[int]) -> None:
    shares = allocate(total_minor, weights)

    assert sum(shares) == total_minor
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share * sum(weights) - total_minor * weight) < sum(weights)


@pytest.mark.parametrize(
    ("amount_minor", "currency", "code"),
    [
        (0, "USD", "amount_out_of_range"),
        (-1, "USD", "amount_out_of_range"),
        (MAX_MINOR + 1, "USD", "amount_out_of_range"),
        (1, "usd", "currency_unsupported"),
        (1, "XXX", "currency_unsupported"),
        (1_005, "KWD", "amount_not_chargeable"),
        (1, "KWD", "amount_not_chargeable"),
    ],
)
def test_amount_that_cannot_be_charged_is_refused(amount_minor: int, currency: str, code: str) -> None:
    with pytest.raises(Invalid) as refusal:
        check_amount(amount_minor, currency, max_minor=MAX_MINOR)

    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("amount_minor", "currency"), [(1, "USD"), (MAX_MINOR, "EUR"), (1, "JPY"), (1_005, "GBP"), (1_010, "KWD")]
)
def test_amount_within_the_limits_is_accepted(amount_minor: int, currency: str) -> None:
    check_amount(amount_minor, currency, max_minor=MAX_MINOR)


@pytest.mark.parametrize(
    ("amount_minor", "currency", "text"),
    [
        (1999, "USD", "19.99"),
        (0, "USD", "0.00"),
        (-5, "USD", "-0.05"),
        (5, "JPY", "5"),
        (-5, "JPY", "-5"),
        (1_250, "KWD", "1.250"),
    ],
)
def test_major_units_are_written_with_the_currencys_decimals(amount_minor: int, currency: str, text: str) -> None:
    assert major(amount_minor, currency) == text


@given(st.integers(-MAX_MINOR, MAX_MINOR), st.sampled_from(sorted(CURRENCY_DECIMALS)))
def test_major_units_lose_nothing(amount_minor: int, currency: str) -> None:
    assert int(major(amount_minor, currency).replace(".", "")) == amount_minor


@pytest.mark.parametrize(("currency", "decimals"), [("CAD", 2), ("KRW", 0), ("BHD", 3), ("JPY", 0), ("XXX", 2)])
def test_every_currency_that_stripe_settles_in_has_its_decimals(currency: str, decimals: int) -> None:
    assert decimals_of(currency) == decimals


def test_ledger_may_hold_more_currencies_than_are_traded() -> None:
    assert CURRENCY_DECIMALS.keys() < SETTLED_CURRENCIES
    assert all(len(currency) == 3 and currency.isupper() for currency in SETTLED_CURRENCIES)
