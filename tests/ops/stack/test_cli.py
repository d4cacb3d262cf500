"""The command line around the stack."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from ops.cli import main
from ops.stack import Stack, leftovers
from ops.stack.layout import Layout


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Run `marketflow` with a directory of the test's own."""

    def run(*arguments: str, stdin: int | None = None, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", "from ops.cli import main; main()", *arguments],
            env={**os.environ, "MARKETFLOW_VAR_DIR": str(tmp_path / "var"), **environment},
            stdin=stdin,
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


@pytest.fixture
def _hangups_are_heard() -> Iterator[None]:
    """Let what is started here hear of them also where these tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("_hangups_are_heard")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_demo_that_is_asked_to_end_stops_what_it_started(
    command: Command, tmp_path: Path, number: signal.Signals
) -> None:
    demo = command("demo")
    assert demo.stdout is not None
    while "starting" not in demo.stdout.readline():
        assert demo.poll() is None

    demo.send_signal(number)

    code, output, _ = finish(demo)
    assert code != 0
    assert "stopping" in output
    assert leftovers.find(Layout.of(tmp_path / "var")) == []


@pytest.mark.usefixtures("_hangups_are_heard")
@pytest.mark.parametrize("moment", ["starting", "Ctrl-C"])
def test_terminal_that_closes_leaves_nothing_running(tmp_path: Path, moment: str) -> None:
    terminal, program_side = os.openpty()
    up = subprocess.Popen(
        [sys.executable, "-c", "from ops.cli import main; main()", "up", "--only", "valkey"],
        env={**os.environ, "MARKETFLOW_VAR_DIR": str(tmp_path / "var")},
        stdout=program_side,
        stderr=program_side,
    )
    os.close(program_side)
    said = b""
    while moment.encode() not in said:
        said += os.read(terminal, 4096)

    os.close(terminal)
    up.send_signal(signal.SIGHUP)

    up.wait(timeout=120)
    assert leftovers.find(Layout.of(tmp_path / "var")) == []


def test_interrupt_that_ends_the_reader_of_a_pipe_too_leaves_nothing_running(
    command: Command, tmp_path: Path
) -> None:
    with command("up", "--only", "valkey") as up:
        assert up.stdout is not None
        while "starting" not in up.stdout.readline():
            assert up.poll() is None

        up.stdout.close()  # as by `make up | tee`
        up.send_signal(signal.SIGINT)

        up.wait(timeout=120)
    assert leftovers.find(Layout.of(tmp_path / "var")) == []


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

    assert code == 3
    assert "supervisord" in errors
    assert "Traceback" not in errors
    assert leftovers.find(Layout.of(tmp_path / "var")) == []


@pytest.mark.parametrize("arguments", [("status",), ("status", "--json"), ("migrate", "--check")])
def test_verdict_that_nobody_reads_is_none(command: Command, shared: Stack, arguments: tuple[str, ...]) -> None:
    with command(*arguments, MARKETFLOW_VAR_DIR=str(shared.layout.var)) as process:
        assert process.stdout is not None
        process.stdout.close()  # as by `| head`, which may have read enough

        assert process.wait(timeout=120) == 3


def test_user_without_a_password_is_not_answered_by_a_verdict(command: Command) -> None:
    process = command("users", "create", "--email", "a@example.com", "--role", "buyer", stdin=subprocess.DEVNULL)

    code, _, errors = finish(process)

    assert code == 3
    assert "marketflow: No password was given" in errors


def test_mistakes_are_answered_in_a_sentence(command: Command) -> None:
    nowhere = {"MARKETFLOW_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x"}
    for arguments, environment, exit_code, message in (
        (("up", "--only", "nothing"), {}, 2, "No such program: nothing"),
        (("up",), {"MARKETFLOW_API_WORKERS": "none"}, 3, "MARKETFLOW_API_WORKERS: Input should be"),
        (("up",), {"MARKETFLOW_API_PORT": "99999"}, 3, "MARKETFLOW_API_PORT: Input should be"),
        (("up",), {"MARKETFLOW_BROKER_URL": "http://h"}, 3, "MARKETFLOW_BROKER_URL: String should match"),
        (("up",), {"MARKETFLOW_STRIPE_API_BASE": "https://h"}, 3, "given without MARKETFLOW_STRIPE_API_KEY"),
        (("migrate",), {"MARKETFLOW_API_WORKERS": "none"}, 3, "MARKETFLOW_API_WORKERS: Input should be"),
        (("migrate",), {"MARKETFLOW_MIGRATION_DATABASE_URL": "nonsense"}, 3, "migration: "),
        (("status",), {}, 1, "No stack runs here"),
        (
            ("ledger", "verify"),
            {"MARKETFLOW_DATABASE_URL": "mysql://x"},
            3,
            "MARKETFLOW_DATABASE_URL: String should",
        ),
        (("ledger", "verify"), nowhere, 3, "the database is out of reach: "),
        (("audit", "verify"), nowhere, 3, "the database is out of reach: "),
        (("audit", "verify", "--head", "zzz"), nowhere, 2, "a head is 12 hexadecimal digits or more"),
        (("queues",), nowhere, 3, "the database is out of reach: "),
        (("breaker", "status"), {"MARKETFLOW_REDIS_URL": "nonsense"}, 3, "MARKETFLOW_REDIS_URL: String should"),
        (("breaker", "status"), {"MARKETFLOW_REDIS_URL": "redis://127.0.0.1:1"}, 3, "Redis does not answer"),
        (("reconcile", "--from", "foo"), {}, 2, "foo is neither a time"),
        (("stripe", "replay", "--since", "999999d"), {}, 2, "999999d is before the first year"),
    ):
        code, _, errors = finish(command(*arguments, **environment))
        assert (code, message in errors) == (exit_code, True), errors
        assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ("queues", "DATABASE_URL"),
        ("ledger verify", "DATABASE_URL"),
        ("audit verify", "DATABASE_URL"),
        (f"deliveries retry {UUID(int=0)}", "DATABASE_URL"),
        ("reconcile --from 1d", "DATABASE_URL"),
        ("stripe replay --since 2h", "DATABASE_URL"),
        ("breaker status", "REDIS_URL"),
        ("secrets reseal", "ENCRYPTION_KEYS"),
        ("migrate --check", "MIGRATION_DATABASE_URL"),
        ("backup nowhere", "BACKUP_DATABASE_URL"),
    ],
)
def test_what_is_neither_set_nor_run_here_is_said_in_one_way(command: Command, line: str, missing: str) -> None:
    code, _, errors = finish(command(*line.split()))

    told = f"marketflow: MARKETFLOW_{missing} is not set, and no stack runs here (`make up`).\n"
    assert (code, errors) == (3, told)


def test_whoever_breaks_off_gives_no_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def break_off() -> None:
        raise RuntimeError("of this test")

    monkeypatch.setattr("ops.cli.app.app", break_off)

    with pytest.raises(SystemExit) as end:
        main()

    assert end.value.code == 3
    assert "RuntimeError: of this test" in capsys.readouterr().err


def test_migrate_checks_the_schema(command: Command, shared: Stack) -> None:
    owner = {"MARKETFLOW_MIGRATION_DATABASE_URL": shared.info.migration_database_url}

    assert finish(command("migrate", **owner))[0] == 0
    assert finish(command("migrate", "--check", **owner))[0] == 0


def test_schema_and_keys_of_the_stack_that_runs_here_are_found(command: Command, shared: Stack) -> None:
    here = {"MARKETFLOW_VAR_DIR": str(shared.layout.var)}

    checked = finish(command("migrate", "--check", **here))
    resealed = finish(command("secrets", "reseal", **here))

    assert (checked[0], checked[2]) == (0, ""), checked
    assert "webhook endpoints are sealed anew" in resealed[1], resealed


def test_schema_that_is_not_the_codes_is_a_verdict(command: Command, tmp_path: Path) -> None:
    with Stack(tmp_path / "var", programs={"postgres"}) as stack:
        owner = stack.info.migration_database_url
        with psycopg.connect(owner, autocommit=True) as hand:
            hand.execute("CREATE TABLE of_this_test ()")

        code, _, errors = finish(command("migrate", "--check"))

    assert (code, "of_this_test" in errors) == (1, True), errors


def test_file_that_cannot_be_written_is_an_answer_and_no_traceback(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "absent" / "export.jsonl"

    code, _, errors = finish(command("audit", "export", str(file)))

    assert (code, errors) == (2, f"marketflow: {file}.draft: No such file or directory\n")


def test_export_that_fails_leaves_an_earlier_one_alone(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    file.write_text("evidence")

    code, _, _ = finish(
        command("audit", "export", str(file), MARKETFLOW_DATABASE_URL="postgresql://127.0.0.1:1/x")
    )

    assert code == 3
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert file.read_text() == "evidence"
