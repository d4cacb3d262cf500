"""Find or end the stack that another process runs in a directory."""

import contextlib
import os
import signal
import time
from pathlib import Path

from ops.stack import leftovers
from ops.stack.errors import NoStack, StackError, StackRunningError
from ops.stack.info import StackInfo, read_info
from ops.stack.layout import Layout
from ops.stack.lock import DirectoryLock
from ops.stack.supervision import Supervisor

END_TIMEOUT_S = 180.0


def find(var_dir: Path) -> StackInfo:
    """Return `stack.json` with the states of now.

    Raises:
        NoStack: no stack runs there.

    """
    info = read_info(Layout.of(var_dir).info)
    try:
        processes = Supervisor(Path(info.supervisor)).processes()
    except StackError:
        raise NoStack("No stack runs here: the last one ended abruptly.") from None
    return info.model_copy(update={"processes": {process.name: process for process in processes}})


def end(var_dir: Path) -> bool:
    """Ask the holder of the stack to stop it, then end what is left; tell whether there was anything.

    Raises:
        StackError: the stack does not stop in time.

    """
    layout = Layout.of(var_dir)
    if not layout.lock.exists():
        return False
    lock = DirectoryLock(layout.lock)
    asked = _ask_to_stop(lock, layout)
    try:
        ended = leftovers.end_all(layout)
        layout.info.unlink(missing_ok=True)
    finally:
        lock.release()
    return asked or ended > 0


def _ask_to_stop(lock: DirectoryLock, layout: Layout) -> bool:
    """Take the lock, for which its present holder has to stop; tell whether there was one."""
    asked = False
    deadline = time.monotonic() + END_TIMEOUT_S
    while True:
        with contextlib.suppress(StackRunningError):
            lock.acquire()
            return asked
        if not asked:
            with contextlib.suppress(ProcessLookupError, ValueError):  # its holder has not written who it is yet
                os.kill(int(layout.lock.read_text()), signal.SIGTERM)
                asked = True
        if time.monotonic() > deadline:
            raise StackError(f"The stack does not stop within {END_TIMEOUT_S:.0f} s.")
        time.sleep(0.1)
