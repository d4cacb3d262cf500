"""The command line around the stack."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ops.stack import Stack, leftovers
from ops.stack.layout import Layout


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Run `marketflow` with a directory of the test's own."""

    def run(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", "from ops.cli import main; main()", *arguments],
            env={**os.environ, "MARKETFLOW_VAR_DIR": str(tmp_path / "var"), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


Command = Callable[..., subprocess.Popen[str]]


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=120)
    return process.returncode, output, errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_serves_until_a_signal_and_ends_with_zero(
    command: Command, tmp_path: Path, number: signal.Signals
) -> None:
    up = command("up", "--only", "valkey")
    assert up.stdout is not None
    while "Ctrl-C" not in up.stdout.readline():
        assert up.poll() is None

    code, output, _ = finish(command("status", "--json"))
    assert code == 0
    assert json.loads(output)["processes"]["valkey"]["state"] in {"STARTING", "RUNNING"}
    assert finish(command("up", "--only", "valkey"))[0] == 1

    up.send_signal(number)
    code, output, errors = finish(up)
    assert (code, errors) == (0, "")
    assert "stopped; the data stays" in output
    assert leftovers.find(Layout.of(tmp_path / "var")) == []
    assert finish(command("status"))[0] == 1


def test_down_stops_the_stack_of_another_terminal(command: Command) -> None:
    up = command("up", "--only", "valkey")
    assert up.stdout is not None
    while "Ctrl-C" not in up.stdout.readline():
        assert up.poll() is None

    assert finish(command("down"))[:2] == (0, "The stack is stopped.\n")

    assert finish(up)[0] == 0
    assert finish(command("down"))[:2] == (0, "No stack runs here.\n")


def test_up_reports_that_supervisord_is_gone(command: Command, tmp_path: Path) -> None:
    up = command("up", "--only", "valkey")
    assert up.stdout is not None
    while "Ctrl-C" not in up.stdout.readline():
        assert up.poll() is None
    for process in leftovers.find(Layout.of(tmp_path / "var")):
        if "supervisor.supervisord" in process.cmdline():
            process.kill()

    code, _, errors = finish(up)

    assert code == 1
    assert "supervisord" in errors
    assert "Traceback" not in errors
    assert leftovers.find(Layout.of(tmp_path / "var")) == []


def test_mistakes_are_answered_in_a_sentence(command: Command) -> None:
    for arguments, environment, message in (
        (("up", "--only", "nothing"), {}, "No such program: nothing"),
        (("up",), {"MARKETFLOW_API_WORKERS": "none"}, "MARKETFLOW_API_WORKERS: Input should be"),
        (("migrate",), {"MARKETFLOW_API_WORKERS": "none"}, "MARKETFLOW_API_WORKERS: Input should be"),
        (("migrate",), {}, "MARKETFLOW_MIGRATION_DATABASE_URL is not set"),
        (("migrate",), {"MARKETFLOW_MIGRATION_DATABASE_URL": "nonsense"}, "migration: "),
        (("status",), {}, "No stack runs here"),
        (("ledger", "verify"), {"MARKETFLOW_DATABASE_URL": "mysql://x"}, "MARKETFLOW_DATABASE_URL: String should"),
        (
            ("ledger", "verify"),
            {"MARKETFLOW_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x"},
            "the database is out of reach: ",
        ),
        (("breaker", "status"), {"MARKETFLOW_REDIS_URL": "nonsense"}, "MARKETFLOW_REDIS_URL: String should"),
        (("stripe", "replay", "--since", "2h"), {}, "MARKETFLOW_DATABASE_URL is not set"),
        (("stripe", "replay", "--since", "999999d"), {}, "999999d is before the first year"),
    ):
        code, _, errors = finish(command(*arguments, **environment))
        assert code == 1
        assert message in errors
        assert "Traceback" not in errors


def test_migrate_checks_the_schema(command: Command, shared: Stack) -> None:
    owner = {"MARKETFLOW_MIGRATION_DATABASE_URL": shared.info.migration_database_url}

    assert finish(command("migrate", **owner))[0] == 0
    assert finish(command("migrate", "--check", **owner))[0] == 0


def test_file_that_cannot_be_written_is_an_answer_and_no_traceback(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "absent" / "export.jsonl"

    code, _, errors = finish(command("audit", "export", str(file)))

    assert (code, errors) == (1, f"marketflow: {file}.draft: No such file or directory\n")


def test_export_that_fails_leaves_an_earlier_one_alone(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    file.write_text("evidence")

    code, _, _ = finish(
        command("audit", "export", str(file), MARKETFLOW_DATABASE_URL="postgresql://127.0.0.1:1/x")
    )

    assert code == 1
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert file.read_text() == "evidence"
