"""The report of a run: complete, well-formed, and standing alone."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from loadtest import plots
from loadtest.figures import Figure, Findings
from loadtest.page import write
from loadtest.watch import Sample

MACHINE = {"cores": 2, "system": "Linux <6>", "libraries": {"falcon": "4"}}
SAMPLES = [
    Sample(1.0, "accept", {"api": 1.2, "postgres": 0.3}, {"api": 118.0, "postgres": 90.0}),
    Sample(2.0, "settle", {"api": 0.2, "postgres": 0.4, "workers": 1.1}),
]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    findings = {
        "accept": Findings(
            (Figure("accepted & kept", 0.36, "x", "against <pgbench>", must=0.35, goal=0.5),),
            {"rounds": [{"timeline": [(2_900, 20.0, 38.0), (3_100, 19.0, 41.0)]}]},
        ),
        "latency": Findings((), {"trials": [{"rate": 10.0, "settle_p50_ms": 30.0, "settle_p99_ms": 55.5}]}),
        "memory": Findings((), {"processes_mib": {"api": {1: 60.0, 2: 29.0}, "postgres": {3: 10.0, 4: 5.5}}}),
    }
    return write(findings, SAMPLES, MACHINE, tmp_path / "report" / "index.html")


def test_page_loads_nothing_from_elsewhere(page: Path) -> None:
    text = page.read_text()
    assert not any(word in text for word in ("http://", "https://", "src=", "href=", "@import", "url("))


def test_page_shows_every_figure_beside_its_bars(page: Path) -> None:
    text = page.read_text()
    for shown in ("accepted &amp; kept", "0.36 x", "≥ 0.35", "≥ 0.5", "against &lt;pgbench&gt;", 'class="must"'):
        assert shown in text


def test_page_has_a_plot_of_everything_that_was_measured(page: Path) -> None:
    body = page.read_text().partition("<body>")[2].partition("</body>")[0]
    drawn = ET.fromstring(f"<body>{body}</body>").iter("svg")  # noqa: S314 - our own page
    texts = [" ".join(text.text or "" for text in plot.iter("text")) for plot in drawn]
    wanted = ("payments a second", "latency, ms", "55.5 ms", "cores", "PSS, MiB", "postgres, all")
    assert all(any(word in text for text in texts) for word in wanted)


def test_results_lie_beside_the_page_as_json(page: Path) -> None:
    results = json.loads(page.with_name("results.json").read_text())
    assert results["machine"]["cores"] == 2
    assert [sample["stage"] for sample in results["samples"]] == ["accept", "settle"]


def test_stacked_areas_lie_on_each_other() -> None:
    drawn = plots.areas({"a": [(0, 1), (1, 1)], "b": [(0, 2), (1, 0)]}, across="s", up="cores")
    lower, upper = [
        [float(place.split(",")[1]) for place in (polygon.get("points") or "").split()]
        for polygon in ET.fromstring(drawn).iter("polygon")  # noqa: S314 - our own
    ]
    assert lower[:2] == list(reversed(upper[2:]))


def test_plot_of_nothing_is_still_a_plot() -> None:
    assert plots.lines({}, across="s", up="ms").startswith("<svg")
