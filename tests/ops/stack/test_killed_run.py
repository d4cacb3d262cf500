"""What a run that was killed leaves behind does not hinder the next one."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg

from ops.stack import Stack, leftovers, running
from ops.stack.layout import Layout
from ops.stack.readiness import lives

RUN = """
import sys, time
from pathlib import Path
from ops.stack import Stack
with Stack(Path(sys.argv[1]), programs={"postgres", "valkey"}):
    print("up", flush=True)
    time.sleep(600)
"""


def run_and_kill(var: Path, *, supervisord_too: bool) -> None:
    with subprocess.Popen([sys.executable, "-c", RUN, str(var)], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"up\n"
        url = running.find(var).migration_database_url
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept (id int)")
        run.kill()
    if supervisord_too:
        for process in leftovers.find(Layout.of(var)):
            if "supervisor.supervisord" in process.cmdline():
                process.kill()


def orphans(var: Path) -> list[psutil.Process]:
    return leftovers.find(Layout.of(var))


def test_next_start_ends_the_orphans_and_keeps_the_data(start: Callable[..., Stack], tmp_path: Path) -> None:
    run_and_kill(tmp_path / "var", supervisord_too=True)
    left = orphans(tmp_path / "var")
    assert {process.name() for process in left} >= {"postgres", "valkey-server"}

    stack = start()

    assert not any(lives(process.pid) for process in left)
    with psycopg.connect(stack.info.migration_database_url) as connection:
        assert connection.execute("SELECT * FROM kept").fetchall() == []


def test_next_start_takes_over_from_a_living_supervisord(start: Callable[..., Stack], tmp_path: Path) -> None:
    run_and_kill(tmp_path / "var", supervisord_too=False)
    assert orphans(tmp_path / "var")

    stack = start()

    stack.wait_ready()


def test_end_stops_a_stack_whose_process_is_gone(tmp_path: Path) -> None:
    run_and_kill(tmp_path / "var", supervisord_too=False)

    assert running.end(tmp_path / "var")

    assert orphans(tmp_path / "var") == []
    assert not running.end(tmp_path / "var")


def test_crashed_postgres_recovers_from_stale_files(start: Callable[..., Stack]) -> None:
    stack = start(programs={"postgres"})
    for process in leftovers.find(stack.layout):
        with suppress(ProcessLookupError):  # it has ended by itself, without its parent
            os.kill(process.pid, signal.SIGKILL)
    stack.stop()
    assert (stack.layout.postgres_data / "postmaster.pid").exists()

    start(programs={"postgres"}).wait_ready()
