"""Daily totals as an inline SVG: a bar a day for Stripe, a mark for the ledger, red where they differ."""

from collections.abc import Sequence
from html import escape

from domain.money import major
from domain.reconciliation.model import DayTotal

_WIDTH, _HEIGHT = 900, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 96, 8, 24, 24
_LABELS = 12
_STEPS = 4


def daily_totals(days: Sequence[DayTotal], currency: str) -> str:
    """Return the plot of the days of one currency, in the order of time."""
    values = [minor for day in days for minor in (day.stripe_minor, day.ledger_minor)]
    least, most = min(0, *values), max(0, *values)
    scale = _Scale(least, most if most > least else least + 1)
    slot = (_WIDTH - _LEFT - _RIGHT) / len(days)
    width = max(min(slot * 0.7, 48.0), 1.0)
    every = -(-len(days) // _LABELS)
    bars = "".join(
        _bar(day, _LEFT + slot * (place + 0.5), width, scale, currency, is_labelled=place % every == 0)
        for place, day in enumerate(days)
    )
    label = f"Daily totals in {escape(currency)}: Stripe as bars, the ledger as marks"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
        f"{_legend()}{_grid(scale, currency)}{bars}</svg>"
    )


class _Scale:
    """From minor units to the height in the plot."""

    def __init__(self, least: int, most: int) -> None:
        self.least = least
        self.most = most

    def y(self, minor: float) -> float:
        share = (minor - self.least) / (self.most - self.least)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _bar(day: DayTotal, middle: float, width: float, scale: _Scale, currency: str, *, is_labelled: bool) -> str:
    top, bottom = sorted((scale.y(day.stripe_minor), scale.y(0)))
    ledger, left = scale.y(day.ledger_minor), middle - width / 2
    colour = "#6b8fd6" if day.stripe_minor == day.ledger_minor else "#d6604d"
    told = f"{day.day}: Stripe {major(day.stripe_minor, currency)}, ledger {major(day.ledger_minor, currency)}"
    label = (
        f'<text x="{middle:.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{day.day:%m-%d}</text>'
        if is_labelled
        else ""
    )
    return (
        f"<g><title>{told}</title>"
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{max(bottom - top, 0.5):.1f}"'
        f' fill="{colour}"/>'
        f'<line x1="{left:.1f}" x2="{left + width:.1f}" y1="{ledger:.1f}" y2="{ledger:.1f}" stroke="#1c2330"'
        f' stroke-width="2"/>{label}</g>'
    )


def _grid(scale: _Scale, currency: str) -> str:
    lines = []
    for step in range(_STEPS + 1):
        minor = scale.least + (scale.most - scale.least) * step // _STEPS
        y = scale.y(minor)
        lines.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d8dde6"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{major(minor, currency)}</text>'
        )
    return "".join(lines)


def _legend() -> str:
    return (
        f'<rect x="{_LEFT}" y="6" width="10" height="10" fill="#6b8fd6"/>'
        f'<text x="{_LEFT + 14}" y="15">Stripe</text>'
        f'<line x1="{_LEFT + 62}" x2="{_LEFT + 74}" y1="11" y2="11" stroke="#1c2330" stroke-width="2"/>'
        f'<text x="{_LEFT + 78}" y="15">ledger</text>'
        f'<rect x="{_LEFT + 126}" y="6" width="10" height="10" fill="#d6604d"/>'
        f'<text x="{_LEFT + 140}" y="15">they differ</text>'
    )
