"""Money: integer minor units, their currencies, and the two roundings that the books allow."""

from collections.abc import Sequence

from domain.errors import Invalid

# ISO 4217: how many decimals a currency's major unit has. Only these are traded.
CURRENCY_DECIMALS = {"USD": 2, "EUR": 2, "GBP": 2, "JPY": 0, "KWD": 3}
# What else Stripe may settle in: sellers are owed it, and finance corrects it (docs.stripe.com/currencies).
_OTHERS_BY_DECIMALS = {
    0: "BIF CLP DJF GNF KMF KRW MGA PYG RWF VND VUV XAF XOF XPF",
    2: """AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CNY
        COP CRC CVE CZK DKK DOP DZD EGP ETB FJD FKP GEL GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR ISK JMD KES
        KGS KHR KYD KZT LAK LBP LKR LRD LSL MAD MDL MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR
        NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SEK SGD SHP SLE SOS SRD SZL THB TJS TOP TRY TTD
        TWD TZS UAH UGX UYU UZS WST XCD YER ZAR ZMW""",
    3: "BHD JOD OMR TND",
}
_DECIMALS = {
    **{name: decimals for decimals, names in _OTHERS_BY_DECIMALS.items() for name in names.split()},
    **CURRENCY_DECIMALS,
}
_USUAL_DECIMALS = 2
SETTLED_CURRENCIES = frozenset(_DECIMALS)
"""All that the ledger may hold: what is traded, and what Stripe may settle it in."""
# Stripe wants three-decimal amounts to end in 0 (docs.stripe.com/currencies#three-decimal).
_THREE_DECIMALS = 3
_BPS = 10_000


def check_amount(amount_minor: int, currency: str, *, max_minor: int) -> None:
    """Refuse an amount that cannot be charged in that currency.

    Errors: Invalid `currency_unsupported`, `amount_out_of_range`, `amount_not_chargeable`.
    """
    if currency not in CURRENCY_DECIMALS:
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


def decimals_of(currency: str) -> int:
    """Return how many decimals a currency has; two for one that nobody has heard of."""
    return _DECIMALS.get(currency, _USUAL_DECIMALS)


def step_minor(currency: str) -> int:
    """Return the least amount that Stripe moves in a currency, of which all others are multiples."""
    return 10 if decimals_of(currency) == _THREE_DECIMALS else 1


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
    decimals = decimals_of(currency)
    sign = "-" if amount_minor < 0 else ""
    whole, fraction = divmod(abs(amount_minor), 10**decimals)
    return f"{sign}{whole}" + (f".{fraction:0{decimals}d}" if decimals else "")
