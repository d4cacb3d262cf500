"""Pictures of the dashboards, for who has no Grafana at hand: what a Prometheus answers to each panel."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

from ops.grafana.panels import COLUMNS, RATE, Dashboard, Panel

PICTURES = Path(__file__).parent / "pictures"

SCRAPED_EVERY_S = 2
"""And so it is asked about."""

_RATE_OVER = "20s"
_MAX_SERIES = 8
"""As many as a small graph's legend can name; the largest ones."""
_COLOURS = 64
_UNITS = {"s": "s", "reqps": "1/s", "ops": "1/s", "bytes": "MB", "percentunit": "%", "short": ""}
_SCALES = {"bytes": 1e-6, "percentunit": 100.0}


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a graph: seconds since the beginning, and values."""

    legend: str
    at_s: Sequence[float]
    values: Sequence[float]


class Answers:
    """What Prometheus answers about a stretch of time."""

    def __init__(self, url: str, begins_at: float, ends_at: float) -> None:
        """Keep the address and the stretch, in seconds since 1970."""
        self._url = url
        self._begins_at = begins_at
        self._ends_at = ends_at

    def series(self, panel: Panel) -> list[Series]:
        """Return the lines of a panel, the largest first and not too many."""
        found = [
            _read(legend, result, self._begins_at)
            for legend, expression in panel.expressions.items()
            for result in self._ask(expression.replace(RATE, _RATE_OVER))
        ]
        return sorted((one for one in found if one.values), key=lambda one: -max(one.values))[:_MAX_SERIES]

    def _ask(self, expression: str) -> list[dict[str, Any]]:
        question: dict[str, str | float] = {
            "query": expression,
            "start": self._begins_at,
            "end": self._ends_at,
            "step": SCRAPED_EVERY_S,
        }
        answer = httpx.get(f"{self._url}/api/v1/query_range", params=question, timeout=30, trust_env=False)
        found: list[dict[str, Any]] = answer.raise_for_status().json()["data"]["result"]
        return found


def _read(legend: str, result: Mapping[str, Any], begins_at: float) -> Series:
    labels = result["metric"]
    named = re.sub(r"\{\{(\w+)\}\}", lambda found: str(labels.get(found[1], "")), legend)
    points = [(float(at) - begins_at, float(value)) for at, value in result["values"] if value != "NaN"]
    return Series(_without_host(named), [at for at, _ in points], [value for _, value in points])


def _without_host(legend: str) -> str:
    """Leave out the machine on which the picture was made."""
    return re.sub(r"@[\w.-]+", "", re.sub(r"127\.0\.0\.1:\d+", "process", legend))


def draw(dashboard: Dashboard, answers: Answers, directory: Path) -> Path:
    """Draw a dashboard as Grafana lays it out; return the file."""
    mpl.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False})
    rows = -(-len(dashboard.panels) // COLUMNS)
    figure = Figure(figsize=(15, 2.7 * rows + 0.5), layout="constrained")
    figure.suptitle(dashboard.title, fontsize=12, fontweight="bold")
    grid: list[Any] = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for panel, axes in zip(dashboard.panels, grid, strict=False):
        axes.set_title(panel.title, fontsize=9, loc="left")
        (_draw_numbers if panel.kind == "stat" else _draw_lines)(axes, panel, answers.series(panel))
    for axes in grid[len(dashboard.panels) :]:
        axes.set_axis_off()
    path = directory / f"{dashboard.uid.removeprefix('marketflow-')}.png"
    figure.savefig(path, dpi=80)
    # A few colours are enough, and a quarter of the bytes.
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(_COLOURS).save(path, optimize=True)
    return path


def _draw_lines(axes: Any, panel: Panel, series: Sequence[Series]) -> None:
    scale = _SCALES.get(panel.unit, 1.0)
    for one in series:
        axes.plot(
            [at / 60 for at in one.at_s], [value * scale for value in one.values], label=one.legend, linewidth=1.2
        )
    axes.set_ylim(bottom=min([0.0, *(value * scale for one in series for value in one.values)]))
    axes.set_xlabel("minutes")
    axes.set_ylabel(_UNITS[panel.unit])
    axes.grid(visible=True, alpha=0.3)
    if series:
        axes.legend(fontsize=6, loc="upper left", framealpha=0.6)
    else:
        axes.text(0.5, 0.5, "nothing happened", ha="center", transform=axes.transAxes, color="gray")


def _draw_numbers(axes: Any, panel: Panel, series: Sequence[Series]) -> None:
    axes.set_axis_off()
    shown = series[:_MAX_SERIES]
    for number, one in enumerate(shown):
        value = one.values[-1] * _SCALES.get(panel.unit, 1.0)
        text = (
            f"{one.legend}  {value:,.1f} {_UNITS[panel.unit]}"
            if panel.unit != "short"
            else f"{one.legend}  {value:,.0f}"
        )
        axes.text(
            0.02,
            0.85 - 0.85 * number / max(len(shown), 3),
            text.rstrip(),
            fontsize=18 if len(shown) <= 3 else 10,  # noqa: PLR2004 - as many lines as the box holds
            va="top",
            transform=axes.transAxes,
            color=_colour(panel, one.values[-1]),
        )


def _colour(panel: Panel, value: float) -> str:
    return [colour for colour, at in panel.thresholds if at is None or value >= at][-1]
