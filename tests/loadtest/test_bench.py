"""How `make bench` and its like end."""

import pytest

from loadtest.bench import exit_code
from loadtest.cost import _parser
from loadtest.figures import Figure, Findings


def found(name: str, value: float) -> Findings:
    return Findings((Figure(name, value, "", "", must=0, lower_is_better=True),))


@pytest.mark.parametrize(
    ("too_slow", "lost", "check", "code"),
    [(0, 0, False, 0), (1, 0, False, 0), (1, 0, True, 1), (0, 1, False, 1), (0, 1, True, 1)],
)
def test_wrong_books_are_never_passed_over(*, too_slow: int, lost: int, check: bool, code: int) -> None:
    findings = {"accept": found("p99", too_slow), "books": found("payments lost or doubled", lost)}

    assert exit_code(findings, check=check) == code


def test_cost_is_asked_for_stages_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(_parser().parse_args(["--only", "read,accept"]).only) == 2
    assert len(_parser().parse_args([]).only) == 4

    with pytest.raises(SystemExit):
        _parser().parse_args(["--only", "read,nothing"])

    assert "nothing: not one of accept, settle, both, read" in capsys.readouterr().err
