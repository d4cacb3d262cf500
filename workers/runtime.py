"""One event loop for each process. A Celery task is a thin shell that hands it one coroutine."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Generic, TypeVar

import structlog
import uvloop
from celery import current_task

from domain.errors import Unavailable
from ops.tracing import trace_failure
from workers.metrics import TASK_SECONDS

Services = TypeVar("Services")

_FAILURES = frozenset({"failed", "timed_out"})

log = structlog.get_logger(__name__)


class Runtime(Generic[Services]):
    """Runs the coroutines of all task threads of a process on one loop, with one set of services.

    Loop and services are made at the first task: after the fork in a pool of processes, once in a pool of threads.
    """

    def __init__(self, open_services: Callable[[], AbstractAsyncContextManager[Services]]) -> None:
        """Keep what opens the services; nothing starts yet."""
        self._open_services = open_services
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._services: Services | None = None
        self._exit = AsyncExitStack()

    def run(self, use: Callable[[Services], Coroutine[Any, Any, object]], *, timeout_s: float) -> None:
        """Run `use` on the loop, for `timeout_s` seconds at most, and wait for its end.

        If something is out of reach, or time is over, that is logged and no error: the rows stay due, and the
        sweeper announces them again. Celery logs any other error with its traceback.
        """
        loop, services = self.start()

        async def bounded() -> None:
            async with asyncio.timeout(timeout_s):
                await use(services)

        started, started_ns, outcome = time.perf_counter(), time.time_ns(), "failed"
        try:
            asyncio.run_coroutine_threadsafe(bounded(), loop).result()
            outcome = "done"
        except Unavailable as error:
            outcome = "postponed"
            log.warning("work_postponed", code=error.code)
        except TimeoutError:
            outcome = "timed_out"
            log.warning("work_timed_out", timeout_s=timeout_s)
        finally:
            task = current_task.name if current_task else "none"
            TASK_SECONDS.labels(task, outcome).observe(time.perf_counter() - started)
            if outcome in _FAILURES:
                trace_failure(f"run/{task}", started_ns, {"task.outcome": outcome})

    def start(self) -> tuple[asyncio.AbstractEventLoop, Services]:
        """Return the loop and the services of this process, made now if there are none yet."""
        with self._lock:
            if self._loop is None:
                loop = uvloop.new_event_loop()
                threading.Thread(target=loop.run_forever, name="event-loop", daemon=True).start()
                self._services = asyncio.run_coroutine_threadsafe(self._open(), loop).result()
                self._loop = loop
            assert self._services is not None  # noqa: S101 - set together with the loop
            return self._loop, self._services

    def stop(self) -> None:
        """Close the services and end the loop."""
        with self._lock:
            if self._loop is not None:
                asyncio.run_coroutine_threadsafe(self._exit.aclose(), self._loop).result()
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._loop = None

    async def _open(self) -> Services:
        return await self._exit.enter_async_context(self._open_services())
