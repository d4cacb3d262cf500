import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from ops.stack import leftovers, postgres, preparation, valkey
from ops.stack.errors import StackError
from ops.stack.info import ProcessInfo, StackInfo, dump, write_private
from ops.stack.layout import Layout, var_dir_of
from ops.stack.lock import DirectoryLock
from ops.stack.plan import Plan, choose_programs, make_plan
from ops.stack.ports import Ports
from ops.stack.programs import programs_of, stop_wait_s
from ops.stack.readiness import lives, wait_ready
from ops.stack.secrets import load_secrets
from ops.stack.supervision import Supervisor, write_config

START_TIMEOUT_S = 300.0
"""What dies at its start is told of at once; what lives and is slow is so on a busy machine."""
KILL_TIMEOUT_S = 10.0
STORAGE = ("postgres", "valkey", "stripe")


class Stack:
    """A running MarketFlow with everything that it needs, in one directory; used as a context manager.

    `settings_overrides` are environment variables that stand over those of this process, for every program;
    `programs` limits what is run: `{"postgres"}` gives a migrated database and nothing else.
    """

    def __init__(
        self,
        var_dir: Path | None = None,
        settings_overrides: Mapping[str, str] | None = None,
        programs: Collection[str] | None = None,
        *,
        on_progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._base = {**os.environ, **(settings_overrides or {})}
        self.layout = Layout.of(var_dir or var_dir_of(self._base))
        self._wanted = None if programs is None else frozenset(programs)
        self._progress = on_progress
        self._lock = DirectoryLock(self.layout.lock)
        self._ports = Ports(self.layout.ports)
        self._supervisor = Supervisor(self.layout.supervisor_socket)
        self._supervisord: subprocess.Popen[bytes] | None = None
        self._plan: Plan | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def plan(self) -> Plan:
        """Return what this start runs; the environment and the settings are in it."""
        if self._plan is None:
            raise StackError("The stack has not been started.")
        return self._plan

    @property
    def info(self) -> StackInfo:
        """Return what `stack.json` says, with the processes as they are now."""
        processes = {process.name: process for process in self.processes()}
        return self.plan.info.model_copy(update={"processes": processes, "pid": os.getpid()})

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start everything and return when it serves; after a failure nothing is left running.

        Raises:
            StackRunningError: a stack runs already in this directory.
            StackError: a program does not start; the message ends with its log.

        """
        self.layout.create()
        self._lock.acquire()
        try:
            self._start(time.monotonic() + timeout_s)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything in the opposite order of starting; bounded in time, and nothing to do twice."""
        try:
            if self._lock.is_held:
                self._stop()
        finally:
            self._ports.release()
            self._lock.release()

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until every program serves again, for example after `kill`, and another death may come."""
        self._wait(self.plan.programs, time.monotonic() + timeout_s, settled=True)

    def processes(self, program: str | None = None) -> list[ProcessInfo]:
        """Return the processes of one program or of all."""
        found = self._supervisor.processes()
        if program is not None and program not in {process.program for process in found}:
            raise StackError(f"{program} is not run by this stack.")
        return [process for process in found if program in (None, process.program)]

    def pids(self, program: str, *, children: bool = False) -> list[int]:
        """Return the processes of `program` that live now, on demand with their children."""
        pids = [process.pid for process in self.processes(program) if process.pid is not None]
        if children:
            for pid in tuple(pids):
                with contextlib.suppress(psutil.NoSuchProcess):
                    pids += [child.pid for child in psutil.Process(pid).children(recursive=True)]
        return pids

    def kill(self, program: str, number: signal.Signals = signal.SIGKILL, *, children: bool = False) -> list[int]:
        """Send a signal to every process of `program`, on demand with their children; return who got it.

        After SIGKILL they are dead when this returns. Children that are spared may serve for another second.
        """
        reached = []
        for pid in self.pids(program, children=children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
                reached.append(pid)
        deadline = time.monotonic() + KILL_TIMEOUT_S
        while number == signal.SIGKILL and any(lives(pid) for pid in reached) and time.monotonic() < deadline:
            time.sleep(0.001)
        return reached

    def stop_program(self, program: str) -> None:
        """Stop `program` in order; it stays stopped until `start_program`."""
        self.processes(program)
        self._supervisor.stop(program)

    def start_program(self, program: str, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start `program` and wait until it serves."""
        self.processes(program)
        self._supervisor.start(program)
        self._wait([program], time.monotonic() + timeout_s)

    def restart(self, program: str, timeout_s: float = START_TIMEOUT_S) -> None:
        """Stop `program` in order, start it and wait until it serves."""
        self.stop_program(program)
        self.start_program(program, timeout_s)

    def check_alive(self) -> None:
        """Raise StackError when supervisord, and with it the whole stack, is gone."""
        if self._supervisord is None or self._supervisord.poll() is not None:
            errors = (self.layout.logs / "supervisord.err").read_text(errors="replace").strip()
            raise StackError(f"supervisord has ended; see {self.layout.logs}/supervisord.log. {errors}")

    def _start(self, deadline: float) -> None:
        if ended := leftovers.end_all(self.layout):
            self._progress(f"ended {ended} processes of an earlier run")
        programs = choose_programs(self._base, self._wanted)
        secrets = load_secrets(self.layout)
        self._plan = plan = make_plan(self.layout, self._base, programs, ports=self._ports, secrets=secrets)
        if "postgres" in programs:
            self._progress("preparing PostgreSQL")
            postgres.prepare(self.layout)
        if "valkey" in programs:
            valkey.prepare(self.layout, plan.ports["valkey"], secrets.valkey_password)
        self._start_supervisord(plan, deadline)
        self._start_programs([name for name in programs if name in STORAGE], deadline)
        preparation.prepare_database(plan, self._progress)
        self._start_programs([name for name in programs if name not in STORAGE], deadline)
        write_private(self.layout.info, dump(self.info))

    def _stop(self) -> None:
        try:
            self._progress("stopping")
        finally:
            # A terminal that has closed, or a pipe whose reader Ctrl-C ended too, takes no word more.
            self._end_supervisord()
            leftovers.end_all(self.layout)
            self.layout.info.unlink(missing_ok=True)

    def _start_supervisord(self, plan: Plan, deadline: float) -> None:
        write_config(self.layout, programs_of(plan))
        self.layout.supervisor_socket.unlink(missing_ok=True)
        with (self.layout.logs / "supervisord.err").open("wb") as errors:
            self._supervisord = subprocess.Popen(  # noqa: S603 - our own arguments
                [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.layout.supervisor_config)],
                env=dict(plan.environment),
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for this process, which then stops the others in order
            )
        while not self._supervisor.is_up():
            self.check_alive()
            if time.monotonic() > deadline:
                raise StackError(f"supervisord does not answer; see {self.layout.logs}/supervisord.log.")
            time.sleep(0.05)

    def _start_programs(self, programs: list[str], deadline: float) -> None:
        if programs:
            self._progress(f"starting {', '.join(programs)}")
        for program in programs:
            self._supervisor.start(program)
        self._wait(programs, deadline)

    def _wait(self, programs: Collection[str], deadline: float, *, settled: bool = False) -> None:
        wait_ready(
            self.plan,
            self._supervisor,
            programs,
            timeout_s=max(deadline - time.monotonic(), 0),
            check_alive=self.check_alive,
            settled=settled,
        )

    def _end_supervisord(self) -> None:
        if self._supervisord is None:
            return
        try:
            self._supervisor.shut_down()  # a signal would do the same, but noticed only a second later
        except StackError:
            self._supervisord.terminate()
        try:
            self._supervisord.wait(stop_wait_s(programs_of(self.plan)))
        except subprocess.TimeoutExpired:
            self._supervisord.kill()
            self._supervisord.wait()
        self._supervisord = None
