"""Find and end the processes of a stack by the marker in their environment, whoever lost track of them."""

import contextlib
import os
import signal
import time

import psutil

from ops.stack import postgres
from ops.stack.errors import StackError
from ops.stack.layout import Layout
from ops.stack.plan import MARKER

GRACE_S = 20
POLL_S = 0.05


def find(layout: Layout) -> list[psutil.Process]:
    """Return the living processes of this stack, the calling process and its ancestors excepted."""
    me = psutil.Process()
    spared = {me.pid, *(parent.pid for parent in me.parents())}
    return [p for p in psutil.process_iter() if p.pid not in spared and _belongs(p, layout)]


def end_all(layout: Layout) -> int:
    """End what an earlier run left, supervisord first lest it restarts the rest; return how many there were.

    Raises:
        StackError: a process outlives SIGKILL.

    """
    found = find(layout)
    for process in found:
        if _is_supervisord(process):
            _signal(process, signal.SIGKILL)
    for process in found:
        _signal(process, signal.SIGTERM)
    if not _wait_gone(layout):
        for process in find(layout):
            _signal(process, signal.SIGKILL)
        if not _wait_gone(layout):
            raise StackError(f"Processes of an earlier run do not end: {[p.pid for p in find(layout)]}.")
    return len(found)


def _wait_gone(layout: Layout) -> bool:
    # Not `psutil.wait_procs`: where nobody reaps orphans, a zombie would be waited for in vain.
    deadline = time.monotonic() + GRACE_S
    while find(layout):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _belongs(process: psutil.Process, layout: Layout) -> bool:
    try:
        if process.environ().get(MARKER) == str(layout.var):
            return True
        # A PostgreSQL session writes its title over its environment.
        return (
            process.name() == "postgres"
            and process.exe() == str(postgres.installation() / "bin" / "postgres")
            and process.cwd() == os.path.realpath(layout.postgres_data)
        )
    except (psutil.Error, OSError):
        return False  # gone, a zombie, or another user's


def _is_supervisord(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return "supervisor.supervisord" in process.cmdline()
    return False


def _signal(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.Error):
        # To a PostgreSQL server SIGTERM means to wait for its clients, SIGINT to send them away.
        server = number == signal.SIGTERM and process.name() == "postgres"
        process.send_signal(signal.SIGINT if server else number)
