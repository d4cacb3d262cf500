"""Money: integer minor units, their currencies, and the two roundings that the books allow."""

from collections.abc import Sequence

from domain.errors import Invalid

# ISO 4217: how many decimals a currency's major unit has. Only these are traded.
CURRENCY_DECIMALS = {"USD": 2, "EUR": 2, "GBP": 2, "JPY": 0, "KWD": 3}
# Stripe wants three-decimal amounts to end in 0 (docs.stripe.com/currencies#three-decimal).
_THREE_DECIMALS = 3
_BPS = 10_000


def check_amount(amount_minor: int, currency: str, *, max_minor: int) -> None:
    """Refuse an amount that cannot be charged in that currency.

    Errors: Invalid `currency_unsupported`, `amount_out_of_range`, `amount_not_chargeable`.
    """
    decimals = CURRENCY_DECIMALS.get(currency)
    if decimals is None:
        raise Invalid(f"{currency} is not traded here", code="currency_unsupported", currency=currency)
    if not 1 <= amount_minor <= max_minor:
        raise Invalid(
            f"the amount must be from 1 to {max_minor} minor units",
            code="amount_out_of_range",
            amount_minor=amount_minor,
        )
    check_chargeable(amount_minor, currency)


def check_chargeable(amount_minor: int, currency: str) -> None:
    """Refuse an amount that Stripe does not move in that currency. Errors: Invalid `amount_not_chargeable`."""
    if amount_minor % step_minor(currency):
        raise Invalid(f"amounts in {currency} must end in 0", code="amount_not_chargeable")


def step_minor(currency: str) -> int:
    """Return the least amount that Stripe moves in a currency, of which all others are multiples."""
    return 10 if CURRENCY_DECIMALS.get(currency) == _THREE_DECIMALS else 1


def movable(amount_minor: int, currency: str) -> int:
    """Return the most of an amount of at least 0 that Stripe moves in that currency."""
    return amount_minor - amount_minor % step_minor(currency)


def commission_minor(amount_minor: int, commission_bps: int) -> int:
    """Return the commission on an amount, rounded half to even on minor units."""
    quotient, remainder = divmod(amount_minor * commission_bps, _BPS)
    doubled = 2 * remainder
    return quotient + (doubled > _BPS or (doubled == _BPS and quotient % 2 == 1))


def allocate(total_minor: int, weights: Sequence[int]) -> list[int]:
    """Share a total in proportion to the weights, to the last minor unit, by largest remainder.

    Equal remainders go to the earlier share. Weights are not negative and not all zero.
    """
    if len(weights) == 1:
        return [total_minor]
    whole = sum(weights)
    shares = [total_minor * weight // whole for weight in weights]
    left = total_minor - sum(shares)
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(total_minor * weights[i] % whole), i))
    for index in by_remainder[:left]:
        shares[index] += 1
    return shares


def major(amount_minor: int, currency: str) -> str:
    """Return an amount as people write it, without a thousands separator: `19.99`, `-5`, `1.250`."""
    decimals = CURRENCY_DECIMALS.get(currency, 2)
    sign = "-" if amount_minor < 0 else ""
    whole, fraction = divmod(abs(amount_minor), 10**decimals)
    return f"{sign}{whole}" + (f".{fraction:0{decimals}d}" if decimals else "")
