"""Plots as SVG, written by hand: the report loads nothing from elsewhere."""

from collections.abc import Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 880, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 150, 14, 34
COLOURS = ("#3366cc", "#dc3912", "#ff9900", "#109618", "#990099", "#0099c6", "#dd4477", "#66aa00", "#994499")
_TICKS = 4


def lines(series: Mapping[str, Points], *, across: str, up: str) -> str:
    """Return a plot of lines over one axis; `across` and `up` say what the axes are, with their units."""
    frame = _Frame.around([point for points in series.values() for point in points])
    drawn = [
        f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{frame.path(points)}"/>'
        for (_, points), colour in zip(series.items(), _colours(), strict=False)
    ]
    return _svg(frame, drawn, list(series), across, up)


def areas(series: Mapping[str, Points], *, across: str, up: str) -> str:
    """Return areas on top of each other; all series have the same places across."""
    floor = [0.0] * max((len(points) for points in series.values()), default=0)
    bands: list[tuple[Points, Points]] = []
    for points in series.values():
        top = [base + y for base, (_, y) in zip(floor, points, strict=True)]
        xs = [x for x, _ in points]
        bands.append((list(zip(xs, floor, strict=True)), list(zip(xs, top, strict=True))))
        floor = top
    frame = _Frame.around([point for _, tops in bands for point in tops])
    drawn = [
        f'<polygon fill="{colour}" fill-opacity="0.75" points="{frame.path([*tops, *reversed(list(bottoms))])}"/>'
        for (bottoms, tops), colour in zip(bands, _colours(), strict=False)
    ]
    return _svg(frame, drawn, list(series), across, up)


def bars(values: Mapping[str, float], *, unit: str) -> str:
    """Return a bar a value, each with its name and its number."""
    most = max(values.values(), default=0.0) or 1.0
    rows = []
    for index, (name, value) in enumerate(values.items()):
        y, width = 8 + 24 * index, 460 * value / most
        rows.append(
            f'<text x="210" y="{y + 13}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="220" y="{y}" width="{width:.1f}" height="17" fill="{COLOURS[0]}"/>'
            f'<text x="{226 + width:.1f}" y="{y + 13}">{value:,.1f} {escape(unit)}</text>'
        )
    return f'<svg viewBox="0 0 {_WIDTH} {16 + 24 * len(values)}" role="img">{"".join(rows)}</svg>'


class _Frame:
    """From values to places on the page."""

    def __init__(self, first: float, last: float, most: float) -> None:
        self.first, self.last, self.most = first, max(last, first + 1e-9), most or 1.0

    @classmethod
    def around(cls, points: Points) -> "_Frame":
        """Return the frame that holds all points, and the zero."""
        xs, ys = [x for x, _ in points] or [0.0], [y for _, y in points] or [0.0]
        return cls(min(xs), max(xs), 1.05 * max(ys))

    def x(self, value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (value - self.first) / (self.last - self.first)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / self.most

    def path(self, points: Points) -> str:
        return " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)


def _colours() -> Sequence[str]:
    return COLOURS * 4


def _svg(frame: _Frame, drawn: Sequence[str], names: Sequence[str], across: str, up: str) -> str:
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">', *drawn]
    for tick in range(_TICKS + 1):
        value = frame.most * tick / _TICKS
        y = frame.y(value)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:,.4g}</text>')
        place = frame.first + (frame.last - frame.first) * tick / _TICKS
        parts.append(f'<text x="{frame.x(place):.1f}" y="{_HEIGHT - 18}" text-anchor="middle">{place:,.4g}</text>')
    parts.append(f'<text x="{_LEFT}" y="10">{escape(up)}</text>')
    parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 4}" text-anchor="end">{escape(across)}</text>')
    for index, (name, colour) in enumerate(zip(names, _colours(), strict=False)):
        y = _TOP + 6 + 18 * index
        parts.append(f'<rect x="{_WIDTH - _RIGHT + 12}" y="{y}" width="11" height="11" fill="{colour}"/>')
        parts.append(f'<text x="{_WIDTH - _RIGHT + 28}" y="{y + 10}">{escape(name)}</text>')
    return "".join([*parts, "</svg>"])
