"""gunicorn's master, which never holds the application: its workers are made by a process that is gone afterwards.

A worker begins as a copy of the process that made it, and the two share each page of memory until one of them
writes to it. A master that had loaded the application would keep a third copy of all that its workers write to,
and have no use for it (ADR 0029).
"""

import ctypes
import gc
import importlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

from gunicorn import arbiter, glogging
from gunicorn.workers.workertmp import WorkerTmp

from api.preload import hide_unused, settle

_PR_SET_CHILD_SUBREAPER = 36
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGABRT)
_GLANCE_S = 0.001


class Logger(glogging.Logger):
    """gunicorn's own, less a walk over every library's loggers.

    PERF: the walk touches them all in each process, and so copies the pages on which they are.
    """

    def close_on_exec(self) -> None:
        """Do nothing: since PEP 446 Python opens no file that another program would inherit."""


class Cradle:
    """What a worker has of its nursery."""

    def __init__(self, nursery: int, farewell: int, pipes: Sequence[int], others: Sequence[WorkerTmp]) -> None:
        """Keep the nursery's process, where it says farewell, and what a worker has to close."""
        self._nursery = nursery
        self._farewell = farewell
        self._pipes = pipes
        self._others = others

    def leave(self) -> None:
        """Wait for the master to be the parent; end the process if it will never know of it."""
        for pipe in self._pipes:
            os.close(pipe)
        for other in self._others:
            other.close()
        if not os.read(self._farewell, 1):
            os._exit(0)
        os.close(self._farewell)
        while os.getppid() == self._nursery:
            time.sleep(_GLANCE_S)


class Charge:
    """What the master knows of a worker: its age, its process, and the file by which it tells that it lives."""

    aborted = False

    def __init__(self, *arguments: Any) -> None:
        """Keep gunicorn's arguments for a worker."""
        self.age: int = arguments[0]
        self.pid: int | str = "[booting]"
        self.tmp = WorkerTmp(arguments[-2])
        self.cradle: Cradle | None = None
        self._arguments = arguments

    def grow_up(self, *_: Any) -> Any:
        """Return the worker itself, in the process that has loaded what it runs."""
        from api.worker import Worker  # noqa: PLC0415 - the master has no use for it

        worker = Worker(*self._arguments)
        worker.tmp.close()
        worker.tmp, worker.cradle = self.tmp, self.cradle
        return worker


class Nursery:
    """A process that loads the application and makes workers of itself; for gunicorn, one more worker.

    So it is told to stop with the others, ended when it takes too long, and its failure is the application's.
    """

    aborted = False

    def __init__(self, charges: Sequence[Charge], cfg: Any, reports: int) -> None:
        """Keep whom it is to make, and where it tells their processes."""
        self.age = charges[-1].age
        self.tmp = WorkerTmp(cfg)
        self.tmp.notify()  # once: from now on its time runs
        self._charges = charges
        self._reports = reports

    def hand_over(self) -> Mapping[int, Charge]:
        """Return the workers by their processes, once it is gone: all of them, or none."""
        with os.fdopen(self._reports) as reports:
            pids = [int(pid) for pid in reports.read().split()]
        for charge in self._charges[len(pids) :]:
            charge.tmp.close()
        made = dict(zip(pids, self._charges, strict=False))
        for pid, charge in made.items():
            charge.pid = pid
        return made


class Arbiter(arbiter.Arbiter):
    """The master, whose workers become its children when the nursery that made them ends."""

    def __init__(self, app: object) -> None:
        """Begin with no workers, and none wanted."""
        super().__init__(app)
        self._wanted = 0
        self._is_stopping = False

    def start(self) -> None:
        """Become the parent of what one's children leave behind (prctl(2)), then start as gunicorn does."""
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        super().start()

    def spawn_worker(self) -> None:
        """Want one more worker, as gunicorn does for each of them when it is told to reload."""
        self._wanted += 1

    def spawn_workers(self) -> None:
        """Want those that are missing."""
        self._wanted += self.num_workers - len(self.WORKERS)

    def manage_workers(self) -> None:
        """End workers that are too many and have those made that are wanted, unless some are just being made."""
        if any(isinstance(worker, Nursery) for worker in self.WORKERS.values()):
            return
        super().manage_workers()
        if self._wanted:
            self._open_nursery()

    def stop(self, graceful: bool = True) -> None:  # noqa: FBT001, FBT002 - gunicorn's signature
        """Stop the workers, and have none made any more."""
        self._is_stopping = True
        super().stop(graceful)

    def adopt(self, nursery: Nursery) -> None:
        """Know the workers of a nursery that has ended; those in whose place they come may go."""
        self.WORKERS.update(nursery.hand_over())
        if self._is_stopping:
            self.kill_workers(signal.SIGTERM)
        else:
            self.manage_workers()

    def _open_nursery(self) -> None:
        charges = [self._make_charge() for _ in range(self._wanted)]
        self._wanted = 0
        reports, reporting = os.pipe()
        nursery = Nursery(charges, self.cfg, reports)
        if pid := os.fork():
            os.close(reporting)
            self.WORKERS[pid] = nursery
            return
        os.close(reports)
        for sibling in (nursery, *self.WORKERS.values()):
            sibling.tmp.close()
        self.WORKERS.clear()
        self._make_workers(charges, reporting)

    def _make_charge(self) -> Charge:
        self.worker_age += 1
        return Charge(self.worker_age, self.pid, self.LISTENERS, self.app, self.timeout / 2.0, self.cfg, self.log)

    def _make_workers(self, charges: Sequence[Charge], reporting: int) -> None:
        """Load the application, make the workers, and end; only they come back from here, by SystemExit."""
        for number in _ENDING:
            signal.signal(number, lambda *_: os._exit(0))
        try:
            self._load()
        except BaseException:  # of a program that ends itself, too
            self.log.exception("The application cannot be loaded.")
            os._exit(self.APP_LOAD_ERROR)
        farewell, parting = os.pipe()
        try:
            for charge in charges:
                others = [other.tmp for other in charges if other is not charge]
                charge.cradle = Cradle(os.getpid(), farewell, (parting, reporting), others)
                self.worker_class = charge.grow_up
                super().spawn_worker()
            os.write(reporting, " ".join(map(str, self.WORKERS)).encode())
            os.write(parting, b"." * len(charges))
        except OSError:  # the machine has no process to spare, or the master is gone
            self.log.exception("Workers cannot be made.")
            os._exit(1)
        os._exit(0)

    def _load(self) -> None:
        gc.disable()
        hide_unused()
        # Before the application, which takes the room of what this leaves: it throws a table of gunicorn's away.
        importlib.import_module("api.worker")
        self.app.wsgi()
        settle()
        # PERF: a request leaves no cycles, and there would be a search for some at every third one.
        gc.set_threshold(10_000)
        gc.enable()
