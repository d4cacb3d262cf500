"""What `ops/security.md` names exists, and it names a test for every risk."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAP = (ROOT / "ops" / "security.md").read_text()
ROWS = {row[1]: row[0] for row in re.finditer(r"^\| ((?:A\d\d|API\d+|V\d+)) .*$", MAP, re.MULTILINE)}
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", MAP)))
FILES = sorted(set(re.findall(r"`((?:api|db|domain|migrations|ops|workers)/[\w/.-]+)`", MAP)))
LOCKS = ("requirements.lock", "ops/docker/requirements.lock")


def test_every_risk_has_its_row_and_a_test() -> None:
    top_ten, of_apis, asvs = range(1, 11), range(1, 11), range(1, 18)
    assert set(ROWS) == {
        *(f"A{number:02}" for number in top_ten),
        *(f"API{number}" for number in of_apis),
        *(f"V{number}" for number in asvs),
    }
    assert [risk for risk, row in ROWS.items() if "`tests/" not in row] == []


def test_nothing_is_spelled_so_that_nobody_looks_for_it() -> None:
    quoted = set(re.findall(r"`([^`]+)`", MAP))

    assert sorted(each for each in quoted if "test_" in each and each not in NAMED) == []
    assert (
        sorted(
            each for each in quoted if each.endswith(".py") and each not in {*NAMED, *FILES, ".ci/weaknesses.py"}
        )
        == []
    )


@pytest.mark.parametrize("name", NAMED)
def test_named_test_exists(name: str) -> None:
    path, _, function = name.partition("::")

    wanted = rf"{function}\(" if function else "test_"
    assert re.search(rf"^(?:async )?def {wanted}", (ROOT / path).read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", FILES)
def test_named_file_exists(name: str) -> None:
    assert (ROOT / name).exists()


@pytest.mark.parametrize("lock", LOCKS)
def test_every_dependency_is_pinned_by_hash(lock: str) -> None:
    text = re.sub(r"\\\n", " ", (ROOT / lock).read_text())
    requirements = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]

    assert len(requirements) > 50
    assert [
        line for line in requirements if not re.match(r"[\w.-]+(\[[\w,-]+\])?==\S+ .*--hash=sha256:\w{64}", line)
    ] == []
    assert "://" not in re.sub(r"#.*", "", text)


GOOD = {"name": "good", "version": "1.0", "vulns": []}
WEAK = {"name": "weak", "version": "1.0", "vulns": [{"id": "CVE-2026-1"}]}
UNKNOWN = {"name": "unknown", "skip_reason": "Dependency not found on PyPI and could not be audited"}


@pytest.mark.parametrize(
    ("report", "status", "words"),
    [
        (json.dumps({"dependencies": [GOOD, GOOD]}), 0, "0 known weaknesses in 2 packages"),
        (json.dumps({"dependencies": [GOOD, WEAK]}), 1, "weak 1.0: CVE-2026-1"),
        (json.dumps({"dependencies": [GOOD, UNKNOWN]}), 0, "NOT CHECKED: 1 packages"),
        (json.dumps({"dependencies": [WEAK, UNKNOWN]}), 1, "NOT CHECKED: 1 packages"),
        ("", 0, "NOT CHECKED: all packages"),
    ],
)
def test_known_weaknesses_are_told_and_so_is_what_nobody_looked_up(report: str, status: int, words: str) -> None:
    command = [sys.executable, ROOT / ".ci" / "weaknesses.py"]

    done = subprocess.run(command, input=report, capture_output=True, check=False, text=True)

    assert (done.returncode, words in done.stdout) == (status, True), done.stdout
