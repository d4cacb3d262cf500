"""The command line in this process, on the database that all tests share."""

from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from ops.cli.app import app

Command = Callable[..., Result]


@pytest.fixture
def command(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command; errors that a person can answer are the result's exception."""
    monkeypatch.setenv("MARKETFLOW_DATABASE_URL", database_url)
    for name in ("DATABASE_STATEMENT_TIMEOUT_S", "REDIS_TIMEOUT_S", "BROKER_TIMEOUT_S"):
        monkeypatch.setenv(f"MARKETFLOW_{name}", "60")

    def run(*arguments: str, **options: str) -> Result:
        return CliRunner().invoke(app, arguments, **options)

    return run
