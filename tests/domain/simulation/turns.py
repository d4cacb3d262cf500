"""Who goes on next: every step of every process waits here until the schedule lets it go on, or kills it."""

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

from domain.errors import DomainError
from tests.domain.fakes import FakeClock

_process: ContextVar[int] = ContextVar("process")
_until: ContextVar[datetime | None] = ContextVar("until")


@dataclass(frozen=True, slots=True)
class Parked:
    """A step that waits for its turn."""

    process: int
    what: str
    turn: asyncio.Future[None]


@dataclass
class Turns:
    """The steps that wait, and the tasks of each process.

    The event loop has neither sockets nor timers here, so it is as repeatable as the choices that `rng` makes.
    """

    rng: Random
    clock: FakeClock
    parked: list[Parked] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    """What no process may ever raise."""
    _tasks: dict[asyncio.Task[None], int] = field(default_factory=dict)
    _dead: set[int] = field(default_factory=set)

    @property
    def running(self) -> bool:
        """Whether any process has work in hand."""
        return bool(self._tasks or self.parked)

    def start(
        self, process: int, work: Coroutine[object, object, object], *, within_s: float | None = None
    ) -> None:
        """Let a process begin a piece of work, which may be ended once its time is over."""
        context = copy_context()
        context.run(_process.set, process)
        context.run(_until.set, self.clock.now() + timedelta(seconds=within_s) if within_s is not None else None)
        task = asyncio.get_running_loop().create_task(_answered(work), context=context)
        self._tasks[task] = process
        task.add_done_callback(self._ended)

    async def take(self, what: str) -> None:
        """Wait until the schedule lets this process take its next step; a dead process takes none."""
        process = _process.get()
        if process in self._dead:
            raise asyncio.CancelledError
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.parked.append(Parked(process, what, turn))
        await turn
        until = _until.get()
        if until is not None and self.clock.now() >= until:
            raise asyncio.CancelledError

    def go_on(self) -> None:
        """Let one of the waiting steps happen."""
        if self.parked:
            chosen = self.parked.pop(self.rng.randrange(len(self.parked)))
            self.trace.append(f"{chosen.process} {chosen.what}")
            chosen.turn.set_result(None)

    def kill(self, process: int) -> None:
        """End a process where it stands: what it had not committed is gone, and it answers nobody."""
        self.trace.append(f"{process} killed")
        self._dead.add(process)
        for each in [each for each in self.parked if each.process == process]:
            self.parked.remove(each)
            each.turn.cancel()
        for task in [task for task, owner in self._tasks.items() if owner == process]:
            task.cancel()

    async def settle_down(self) -> None:
        """Run on until every step waits for its turn: until the event loop has nothing left to do."""
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]  # it says so in no other way
        await asyncio.sleep(0)
        while ready:
            await asyncio.sleep(0)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self.errors.append(error)


async def _answered(work: Coroutine[object, object, object]) -> None:
    """Do a piece of work; an error of the domain is an answer like any other."""
    try:
        await work
    except DomainError:
        return
