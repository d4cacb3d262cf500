"""Stripe's rules for amounts and currencies, and its fees."""

from ops.stripe_sandbox.errors import ApiError, invalid

# https://docs.stripe.com/currencies, in the smallest unit of each currency.
_CODES = (
    "usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp byn bzd cad"
    " cdf chf clp cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd"
    " hnl htg huf idr ils inr isk jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl"
    " mga mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg"
    " qar ron rsd rub rwf sar sbd scr sek sgd shp sle sos srd std szl thb tjs tnd top try ttd twd tzs uah"
    " ugx uyu uzs vnd vuv wst xaf xcd xof xpf yer zar zmw"
)
CURRENCIES = frozenset(_CODES.split())
_ENDING_IN_ZERO = {"bhd": 10, "jod": 10, "kwd": 10, "omr": 10, "tnd": 10, "isk": 100, "ugx": 100}
_ZERO_DECIMAL_CODES = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf"
_ZERO_DECIMAL = frozenset(_ZERO_DECIMAL_CODES.split())
_MINIMUM = {
    "aed": 200, "bgn": 100, "czk": 1500, "dkk": 250, "gbp": 30, "hkd": 400, "huf": 17500, "mxn": 1000,
    "myr": 200, "nok": 300, "pln": 200, "ron": 200, "sek": 300, "thb": 1000,
    "bhd": 200, "jod": 360, "kwd": 160, "omr": 200, "tnd": 1600, "isk": 7000, "ugx": 190000,
}  # fmt: skip
MAXIMUM_MINOR = 99_999_999
DISPUTE_FEE_MINOR = 1500


def charge_fee(amount_minor: int) -> int:
    """Return Stripe's fee for a card charge: 2.9 % + 30 minor units, rounded half up."""
    return (amount_minor * 29 + 500) // 1000 + 30


def check_currency(currency: str) -> str:
    """Return the currency in small letters, or refuse one that Stripe does not know."""
    lowered = currency.lower()
    if lowered not in CURRENCIES:
        known = ", ".join(sorted(CURRENCIES))
        message = f"Invalid currency: {lowered}. Stripe currently supports these currencies: {known}"
        raise invalid(message, "currency")
    return lowered


def check_amount(amount_minor: int, currency: str) -> None:
    """Refuse an amount that Stripe would not charge in this currency."""
    if amount_minor > MAXIMUM_MINOR:
        most = written(MAXIMUM_MINOR, currency)
        raise invalid(f"Amount must be no more than {most}", "amount", "amount_too_large")
    if amount_minor < _MINIMUM.get(currency, 50):
        least = written(_MINIMUM.get(currency, 50), currency)
        raise invalid(f"Amount must be at least {least}", "amount", "amount_too_small")
    check_step(amount_minor, currency)


def check_step(amount_minor: int, currency: str) -> None:
    """Refuse an amount that is no multiple of the least that can be moved in this currency."""
    if amount_minor % _ENDING_IN_ZERO.get(currency, 1):
        raise _not_divisible(amount_minor, currency)


def written(amount_minor: int, currency: str) -> str:
    """Return an amount as Stripe's messages spell it."""
    decimals = 0 if currency in _ZERO_DECIMAL else 3 if _ENDING_IN_ZERO.get(currency) == 10 else 2
    return f"{amount_minor / 10**decimals:,.{decimals}f} {currency}"


def _not_divisible(amount_minor: int, currency: str) -> ApiError:
    step = _ENDING_IN_ZERO[currency]
    message = f"Invalid amount: {amount_minor} {currency} must be evenly divisible by {step}."
    return invalid(message, "amount", "parameter_invalid_integer")
