"""`marketflow stripe replay`, as far as it needs no stack: what it refuses, and how it says so."""

import pytest

from ops.errors import OperatorError
from tests.ops.cli.conftest import Command


@pytest.mark.parametrize(
    "arguments",
    [
        ("--since", "yesterday"),
        ("--since", "2 h"),
        ("--since", "2026-13-01"),
        ("--since", "1h", "--until", "soon"),
        ("--since", "1h", "--until", "2h"),
        ("--since", "2999-01-01"),
        ("--since", "1h", "--type", "charge.%"),
        ("--since", "1h", "--type", ""),
    ],
)
def test_spans_and_types_that_are_none_are_refused(command: Command, arguments: tuple[str, ...]) -> None:
    result = command("stripe", "replay", *arguments)

    assert isinstance(result.exception, OperatorError), result.output
