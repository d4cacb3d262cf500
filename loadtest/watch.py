"""What each program of the stack uses while it is measured: the cores it keeps busy, and its memory."""

import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Self

import psutil

from ops.stack import Stack
from ops.stack.errors import StackError

CLIENT = "load client"
PROGRAMS = ("api", "workers", "deliveries", "stripe", "postgres", "valkey", "flower", "beat")
_INTERVAL_S = 1.0
_WEIGHED_EVERY = 5
"""Asking which processes there are, and walking all of their memory, costs more, and is done more seldom."""
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment: the cores that each program kept busy since the last one, and now and then what it weighs."""

    at_s: float
    stage: str
    cores: Mapping[str, float]
    pss_mib: Mapping[str, float] = field(default_factory=dict)

    def plain(self) -> Mapping[str, object]:
        """Return the sample as JSON has it."""
        return asdict(self)


class Watch:
    """Samples a stack in a thread of its own, from the beginning of a block to its end."""

    def __init__(self, stack: Stack) -> None:
        """Keep whom to watch."""
        self._stack = stack
        self._started = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._spent: dict[int, float] = {}
        self.stage = ""
        self.samples: list[Sample] = []

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        last = time.monotonic()
        programs = self._programs()
        self._spend({**programs, CLIENT: self._clients(programs)})
        while not self._stopped.wait(_INTERVAL_S):
            weighed = len(self.samples) % _WEIGHED_EVERY == 0
            programs = self._programs() if weighed else programs
            processes = {**programs, CLIENT: self._clients(programs)}
            now = time.monotonic()
            cores = {program: spent / (now - last) for program, spent in self._spend(processes).items()}
            last = now
            pss = {program: sum(map(pss_mib, pids)) for program, pids in processes.items()} if weighed else {}
            self.samples.append(Sample(now - self._started, self.stage, cores, pss))

    def _programs(self) -> Mapping[str, list[int]]:
        """Return the processes of each program that runs now."""
        found: dict[str, list[int]] = {}
        for program in PROGRAMS:
            try:
                found[program] = self._stack.pids(program, children=True)
            except (StackError, OSError):
                continue  # it is being stopped or started at this moment
        return found

    def _clients(self, programs: Mapping[str, list[int]]) -> list[int]:
        """Return the load clients, which are our own children, as the stack is."""
        stack = {pid for pids in programs.values() for pid in pids}
        ours = (child for child in psutil.Process().children() if child.pid not in stack)
        return [child.pid for child in ours if "loadtest.client" in _command(child)]

    def _spend(self, processes: Mapping[str, list[int]]) -> Mapping[str, float]:
        """Return the seconds of CPU that each program has used since the last call."""
        spent, before = {}, self._spent
        self._spent = {pid: _cpu_s(pid) for pids in processes.values() for pid in pids}
        for program, pids in processes.items():
            spent[program] = sum(self._spent[pid] - before.get(pid, self._spent[pid]) for pid in pids)
        return spent


def weigh(stack: Stack) -> Mapping[str, Mapping[int, float]]:
    """Return what each process of each program weighs (PSS, MiB)."""
    return {program: {pid: pss_mib(pid) for pid in stack.pids(program, children=True)} for program in PROGRAMS}


def pss_mib(pid: int) -> float:
    """Return what a process weighs, 0 for one that has just gone."""
    try:
        return float(psutil.Process(pid).memory_full_info().pss) / _MIB
    except psutil.Error:
        return 0.0


def _cpu_s(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
