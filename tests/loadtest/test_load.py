"""`make load`: its figures, its stages, and a whole small crowd."""

import io
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from loadtest.crowd import REPORTS
from loadtest.load import _CLAIM, SCENARIOS, Answers, _table, read_stats
from loadtest.scenarios.world import World
from ops.stack.layout import ROOT

pytestmark = pytest.mark.usefixtures("unmeasured")


def load(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "loadtest.load", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)


def test_without_a_scenario_they_are_listed() -> None:
    listed = load()

    assert listed.returncode == 0
    assert set(SCENARIOS) <= set(listed.stdout.split())


@pytest.mark.parametrize("name", SCENARIOS)
def test_users_come_and_go_by_the_stages(name: str) -> None:
    stages = SCENARIOS[name].stages
    world = World("", "", 100, 1, 10.0, stages, [], [], [], "")

    counts = [world.users_at(moment) for moment in (0.0, 2.5, 5.0, 9.99)]

    assert counts[0] == round(100 * stages[0][1])
    assert all(count is not None and 1 <= count <= 100 for count in counts)
    assert world.users_at(10.0) == 0, "nobody comes any more, and the last answers are counted"
    assert world.users_at(60.0) is None


def test_quantiles_are_of_all_answers(tmp_path: Path) -> None:
    entry = {"name": "/", "method": "GET", "num_requests": 100, "num_failures": 1, "start_time": 5.0}
    times = {"1": 94, "7": 5, "30": 1}
    stats = tmp_path / "stats.json"
    stats.write_text(json.dumps([{**entry, "last_request_timestamp": 15.0, "response_times": times}]))

    (answers,), seconds = read_stats(stats)

    assert seconds == 10.0
    assert (answers.count, answers.failed) == (100, 1)
    assert answers.quantiles_ms() == [1, 7, 7]


def test_small_crowd_leaves_no_error_and_books_that_tie() -> None:
    done = load("flash", "--users", "4", "--duration", "8")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost or wrong: 0" in done.stdout
    assert done.stdout.startswith("flash: starting a stack"), "a log is told how it gets on"
    report = (REPORTS / "load-flash.html").read_text(encoding="utf-8")
    assert not re.search(r"""<(?:script|link|img)[^>]+(?:src|href)=["']?(?:https?:)?//""", report)


def test_figures_to_beat_are_shown_with_who_claims_them() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(_table([Answers("GET /v1/products", 2, 0, Counter({3: 2}))], 1.0))
    lines = console.export_text().splitlines()
    said = " ".join((ROOT / "README.md").read_text().split())

    assert "what services written in Rust claim for this work" in lines[-1]
    assert "what services written in Rust claim for this work: 3,247 requests a second, 42, 65 and 87 ms" in said
    assert set(_CLAIM) - {""} <= {cell.strip() for line in lines for cell in line.split("│")}
