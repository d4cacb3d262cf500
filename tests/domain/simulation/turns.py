"""Who goes on next: every step of every process waits here until the schedule lets it go on, or kills it."""

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from random import Random

from domain.errors import DomainError

_process: ContextVar[int] = ContextVar("process")

_QUIET_ROUNDS = 12
"""So often the event loop is let go on before the next choice: a step passes through some tasks that wait."""


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

    def start(self, process: int, work: Coroutine[object, object, object]) -> None:
        """Let a process begin a piece of work."""
        context = copy_context()
        context.run(_process.set, process)
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
        """Run on until every step waits for its turn."""
        for _ in range(_QUIET_ROUNDS):
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
