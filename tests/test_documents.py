"""Documents speak of code that exists."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.grafana.panels import DASHBOARDS, Dashboard

ROOT = Path(__file__).resolve().parents[1]
ARCHITECTURE = ROOT / "ops" / "architecture.md"
SCALE = ROOT / "ops" / "scale.md"
RECORDING = ROOT / "ops" / "demo" / "recordings"
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "ops").rglob("*.md"))]

_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
# A link to a file, and after a dot the names that are meant in it.
_MEANT = re.compile(r"\]\((\S+\.py)\)\s+·\s+((?:`[\w.]+`(?:,\s+)?)+)")


# A name of ours in a docstring or a comment, from its package on.
_NAMED = re.compile(r"`((?:api|db|domain|ops|workers)(?:\.\w+)+)`")


def defined_in(path: Path) -> set[str]:
    """The names that a module defines: functions, classes, their methods, constants."""
    return set(_names(ast.parse(path.read_text()).body))


def _names(body: list[ast.stmt], owner: str = "") -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield owner + node.name
        elif isinstance(node, ast.ClassDef):
            yield node.name
            yield from _names(node.body, f"{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (owner + target.id for target in targets if isinstance(target, ast.Name))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(document: Path) -> None:
    links = [link for link in _LINK.findall(document.read_text()) if "://" not in link]

    assert [link for link in links if not (document.parent / link).exists()] == []


def test_architecture_names_what_the_code_defines() -> None:
    meant = _MEANT.findall(ARCHITECTURE.read_text())
    wanted = [(ROOT / "ops" / link, name) for link, names in meant for name in re.findall(r"`([\w.]+)`", names)]

    assert len(wanted) > 50
    assert [(path.name, name) for path, name in wanted if name not in defined_in(path)] == []


@pytest.mark.parametrize("package", ["api", "db", "domain", "ops", "workers"])
def test_docstrings_and_comments_name_what_the_code_defines(package: str) -> None:
    sources = sorted((ROOT / package).rglob("*.py"))
    named = {(path.relative_to(ROOT), name) for path in sources for name in _NAMED.findall(path.read_text())}

    assert [(str(path), name) for path, name in sorted(named) if not _is_defined(name)] == []


def _is_defined(name: str) -> bool:
    """Whether a dotted name is that of a package, of a module, or of what a module defines."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:end])
        if place.is_dir():
            return end == len(parts)
        if place.with_suffix(".py").exists():
            return end == len(parts) or ".".join(parts[end:]) in defined_in(place.with_suffix(".py"))
    return False


def test_architecture_passes_through_every_layer() -> None:
    files = _LINK.findall(ARCHITECTURE.read_text())

    assert {"api", "db", "domain", "workers", "migrations"} <= {
        link.split("/")[1] for link in files if "/" in link
    }


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_readme_shows_a_small_picture_of_each_dashboard(dashboard: Dashboard) -> None:
    picture = ROOT / "ops/grafana/pictures" / f"{dashboard.uid.removeprefix('marketflow-')}.png"

    assert f"]({picture.relative_to(ROOT)})" in (ROOT / "README.md").read_text()
    assert picture.stat().st_size < 150_000


def test_recording_plays_the_demo_to_its_end_and_tells_of_no_machine() -> None:
    header, *events = map(json.loads, (RECORDING / "demo.cast").read_text().splitlines())
    shown = "".join(text for _, _, text in events)
    times = [at_s for at_s, _, _ in events]

    assert header["version"] == 2
    assert {kind for _, kind, _ in events} == {"o"}
    assert times == sorted(times)
    steps = [
        "offers a",
        "asks 50.50 USD now, and accepts it",
        "pays with a good card: succeeded",
        "the order is shipped",
    ]
    places = [shown.find(step) for step in [*steps, "the order is completed", "everything agrees"]]
    assert -1 not in places
    assert places == sorted(places)
    for text in (shown, (RECORDING / "demo.svg").read_text()):
        assert re.findall(r"/(?:home|root|tmp|work|usr|var)/\S*", text) == []


def test_what_is_said_of_a_node_are_figures_of_readme() -> None:
    """Rates and memory that were measured stand in two documents; a backlog's rate is reckoned from its time."""
    (measured,) = re.findall(r"\n## What a node does.*?\n\n(\|.*?)\n\n", SCALE.read_text(), re.DOTALL)
    rows = [row for row in measured.splitlines() if "backlog" not in row]
    figures = re.findall(r"[\d,]+(?:/s| MiB)", "\n".join(rows))

    assert len(figures) > 3
    assert [figure for figure in figures if figure not in (ROOT / "README.md").read_text()] == []


def test_readme_shows_the_recording() -> None:
    assert f"]({(RECORDING / 'demo.svg').relative_to(ROOT)})" in (ROOT / "README.md").read_text()
    assert (RECORDING / "demo.svg").stat().st_size < 150_000
