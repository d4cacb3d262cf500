"""Wait until programs serve; notice early that one cannot start."""

import socket
import time
from collections.abc import Callable, Iterable

import httpx
import psutil

from ops.stack import postgres, valkey
from ops.stack.errors import StackError
from ops.stack.info import ProcessInfo
from ops.stack.plan import Plan
from ops.stack.ports import HOST
from ops.stack.supervision import Supervisor

POLL_S = 0.05
STARTS_ALLOWED = 3
LOG_LINES = 25


def wait_ready(
    plan: Plan,
    supervisor: Supervisor,
    programs: Iterable[str],
    *,
    timeout_s: float,
    check_alive: Callable[[], None],
    settled: bool = False,
) -> None:
    """Wait until each of `programs` serves; `check_alive` raises when waiting is in vain.

    `settled` asks for more: each process has lived so long that another death is restarted at once, without
    the growing delay of a program that never comes up.

    Raises:
        StackError: a program dies again and again, or the time is over; the message ends with its log.

    """
    waiting = list(programs)
    deadline = time.monotonic() + timeout_s
    starts: dict[str, set[int]] = {}
    while waiting:
        check_alive()
        processes = supervisor.processes()
        _refuse_failing(processes, waiting, starts)
        waiting = [name for name in waiting if not _is_ready(plan, name, processes, settled=settled)]
        if waiting and time.monotonic() > deadline:
            late = next(process for process in processes if process.program == waiting[0])
            raise StackError(f"{waiting[0]} is not ready after {timeout_s:.0f} s.{log_tail(late)}")
        if waiting:
            time.sleep(POLL_S)


def log_tail(process: ProcessInfo) -> str:
    """Return the end of the process's log under a heading."""
    try:
        with open(process.log, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - a plain string
            lines = file.readlines()[-LOG_LINES:]
    except OSError:
        lines = []
    return f"\n--- the end of {process.log}\n{''.join(lines).rstrip() or '(empty)'}"


def _refuse_failing(processes: list[ProcessInfo], waiting: list[str], starts: dict[str, set[int]]) -> None:
    for process in processes:
        if process.program not in waiting:
            continue
        seen = starts.setdefault(process.name, set())
        if process.pid is not None:
            seen.add(process.pid)
        if process.state == "FATAL" or (process.state == "BACKOFF" and len(seen) >= STARTS_ALLOWED):
            raise StackError(f"{process.name} does not start. {process.note}{log_tail(process)}")


def _is_ready(plan: Plan, program: str, processes: list[ProcessInfo], *, settled: bool) -> bool:
    if (settled or program not in _PROBES) and not _all_run(program, processes):
        return False
    probe = _PROBES.get(program)
    return probe is None or probe(plan)


def _all_run(program: str, processes: list[ProcessInfo]) -> bool:
    return all(p.state == "RUNNING" and lives(p.pid) for p in processes if p.program == program)


def lives(pid: int | None) -> bool:
    """Tell whether the process lives; a zombie, of which supervisord has not heard yet, does not."""
    try:
        return pid is not None and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


_PROBES: dict[str, Callable[[Plan], bool]] = {
    "postgres": lambda plan: postgres.is_ready(plan.layout),
    "valkey": lambda plan: valkey.is_ready(plan.info.redis_url),
    "stripe": lambda plan: _listens(plan.ports["stripe"]),
    "flower": lambda plan: _listens(plan.ports["flower"]),
    "api": lambda plan: _answers(f"{plan.info.api}/health/ready"),
}
