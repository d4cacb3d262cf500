"""supervisord: its configuration from the table of programs, and the calls to it."""

import configparser
import http.client
import io
import os
import shlex
import xmlrpc.client  # of our supervisord, on a socket that nobody else may open  # nosec B411
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ops.stack.errors import StackError
from ops.stack.info import ProcessInfo, write_private
from ops.stack.layout import ROOT, Layout
from ops.stack.programs import INDEX, Program

# A program that dies within START_S counts as not started: the n-th try waits n seconds. So 40 tries outlast
# a storm of kills, and what is really broken is tried ever more seldom until it is given up.
START_S = 1
START_RETRIES = 40


def write_config(layout: Layout, programs: list[Program]) -> None:
    """Write supervisord's configuration for `programs`, which come in the order of starting."""
    config = configparser.RawConfigParser()
    config["unix_http_server"] = {"file": _escape(layout.supervisor_socket), "chmod": "0700"}
    config["rpcinterface:supervisor"] = {
        "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
    }
    # For operators: `supervisorctl -c`, this file, and what to start or to stop.
    config["supervisorctl"] = {"serverurl": f"unix://{_escape(layout.supervisor_socket)}"}
    config["supervisord"] = {
        "nodaemon": "true",
        "silent": "true",
        "logfile": _escape(layout.logs / "supervisord.log"),
        "pidfile": _escape(layout.runtime / "supervisord.pid"),
        "childlogdir": _escape(layout.logs),
        "identifier": "marketflow",
        # Said outright, it is no warning: root is needed to hand PostgreSQL to its own user.
        **({"user": "root"} if os.geteuid() == 0 else {}),
    }
    for priority, program in enumerate(programs, start=1):
        config[f"program:{program.name}"] = _section(layout, program, priority)
    text = io.StringIO()
    config.write(text)
    write_private(layout.supervisor_config, text.getvalue())


def _section(layout: Layout, program: Program, priority: int) -> dict[str, str]:
    number = "-%(process_num)d" if program.processes > 1 else ""
    section = {
        "command": _escape(shlex.join(program.command)).replace(INDEX, "%(process_num)d"),
        # Another user may not be able to enter the project's directory.
        "directory": _escape(ROOT) if program.user is None else "/",
        "process_name": f"%(program_name)s{number}",
        "numprocs": str(program.processes),
        "priority": str(priority),  # supervisord stops the groups in the opposite order
        "autostart": "false",
        "autorestart": "true",
        "startsecs": str(START_S),
        "startretries": str(START_RETRIES),
        "stopsignal": program.stop_signal,
        "stopwaitsecs": str(program.stop_wait_s),
        "killasgroup": "true",  # a last resort must not leave children behind
        "redirect_stderr": "true",
        # This one value supervisord expands twice.
        "stdout_logfile": f"{_escape(_escape(layout.logs))}/%(program_name)s{number}.log",
        "stdout_logfile_maxbytes": "10MB",
        "stdout_logfile_backups": "3",
    }
    if program.user is not None:
        section["user"] = program.user
    return section


def _escape(text: object) -> str:
    return str(text).replace("%", "%%")


class Supervisor:
    """The calls to the supervisord that listens on `socket`; each raises StackError if it does not answer."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def is_up(self) -> bool:
        """Tell whether supervisord answers."""
        try:
            self.processes()
        except StackError:
            return False
        return True

    def processes(self) -> list[ProcessInfo]:
        """Return every process of every program, by name."""
        with self._calls() as calls:
            found = calls.getAllProcessInfo()
        return [_process(row) for row in found]

    def start(self, program: str) -> None:
        """Start a program's processes; those that run already stay."""
        with self._calls() as calls:
            calls.startProcessGroup(program, False)

    def stop(self, program: str) -> None:
        """Stop a program's processes and wait until they are gone; they stay stopped."""
        with self._calls() as calls:
            calls.stopProcessGroup(program, True)

    def shut_down(self) -> None:
        """Stop everything in the opposite order of starting, then end supervisord; does not wait."""
        with self._calls() as calls:
            calls.shutdown()

    @contextmanager
    def _calls(self) -> Iterator[Any]:
        from supervisor.xmlrpc import SupervisorTransport  # noqa: PLC0415 - images come without the embedded stack

        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        try:
            # The address is a formality: the transport goes to the socket.
            yield xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=transport).supervisor
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise StackError(f"supervisord does not answer: {error}") from error
        finally:
            transport.close()


def _process(row: dict[str, Any]) -> ProcessInfo:
    runs = bool(row["pid"])
    return ProcessInfo(
        program=row["group"],
        name=row["name"],
        state=row["statename"],
        pid=row["pid"] or None,
        uptime_s=row["now"] - row["start"] if runs else 0,
        log=row["stdout_logfile"],
        note=row["spawnerr"],
    )
