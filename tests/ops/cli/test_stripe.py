"""`marketflow stripe replay`, as far as it needs no workers: what it refuses, and how it says so."""

import pytest

from ops.errors import BadValue, OperatorError
from ops.stack import Stack
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

    assert isinstance(result.exception, BadValue), result.output


def test_stripe_that_is_away_is_told_once_in_words(
    command: Command, valkey: Stack, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MARKETFLOW_REDIS_URL", valkey.info.redis_url)
    monkeypatch.setenv("MARKETFLOW_BROKER_URL", valkey.info.broker_url)
    monkeypatch.setenv("MARKETFLOW_STRIPE_API_BASE", "http://127.0.0.1:1")
    monkeypatch.setenv("MARKETFLOW_STRIPE_API_KEY", "sk_test_of_this_test")
    assert command("breaker", "reset").exit_code == 0  # other tests may have left it open
    capfd.readouterr()

    result = command("stripe", "replay", "--since", "1h")

    assert isinstance(result.exception, OperatorError)
    assert str(result.exception) == "Stripe does not list its events: no answer"
    assert result.exception.exit_code == 3
    assert (result.output, *capfd.readouterr()) == ("", "", "")
