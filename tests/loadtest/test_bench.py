"""How `make bench` and its like end."""

import pytest

from domain.ledger.model import Verification
from loadtest.bench import exit_code
from loadtest.books import judge
from loadtest.client import LOST
from loadtest.cost import _parser
from loadtest.figures import Figure, Findings, Verdict


def found(name: str, value: float) -> Findings:
    return Findings((Figure(name, value, "", "", must=0, lower_is_better=True),))


@pytest.mark.parametrize(
    ("too_slow", "lost", "check", "code"),
    [(0, 0, False, 0), (1, 0, False, 0), (1, 0, True, 1), (0, 1, False, 1), (0, 1, True, 1)],
)
def test_wrong_books_are_never_passed_over(*, too_slow: int, lost: int, check: bool, code: int) -> None:
    findings = {"accept": found("p99", too_slow), "books": found("payments lost or doubled", lost)}

    assert exit_code(findings, check=check) == code


@pytest.mark.parametrize(
    ("accepted", "refused", "rows", "succeeded", "missed"),
    [
        (10, {}, 10, 10, []),
        (10, {503: 2}, 10, 10, []),
        (10, {LOST: 1}, 11, 11, []),
        (10, {503: 1}, 11, 11, ["payments lost or doubled"]),
        (10, {}, 9, 9, ["payments lost or doubled"]),
        (10, {}, 10, 9, ["payments that did not succeed"]),
    ],
    ids=["all well", "refused", "unanswered", "doubled", "lost", "in quarantine"],
)
def test_whatever_became_of_a_promise_but_success_is_missed(
    accepted: int, refused: dict[int, int], rows: int, succeeded: int, missed: list[str]
) -> None:
    books = judge(Verification(rows, 3 * rows, (), ()), accepted, refused, rows, succeeded)

    assert [figure.name for figure in books.figures if figure.verdict is Verdict.MISSED] == missed
    assert exit_code({"books": books}, check=False) == bool(missed)


def test_cost_is_asked_for_stages_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(_parser().parse_args(["--only", "read,accept"]).only) == 2
    assert len(_parser().parse_args([]).only) == 4

    with pytest.raises(SystemExit):
        _parser().parse_args(["--only", "read,nothing"])

    assert "nothing: not one of accept, settle, both, read" in capsys.readouterr().err
