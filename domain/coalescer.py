"""Group commit: requests that wait at the same moment share one statement, one commit, one message."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from domain.errors import DomainError, Unavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Coalescer(Generic[Item, Answer]):
    """Gathers single items into batches whose size follows the load.

    An item that comes while no flush runs goes at once, as a batch of one. Items that come during a flush gather,
    and the next flush takes up to `max_batch` of them. So an item waits for one flush, and for more only behind
    `max_batch` others.

    With `spacing_s`, a batch that is smaller than the last one is held until `spacing_s` seconds after the last
    one began, or until it is as large. Under load this makes fewer and fuller batches. It holds up neither an item
    that comes alone now and then nor a group that waits already.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Answer | DomainError]]],
        *,
        max_batch: int,
        max_waiting: int = 10_000,
        spacing_s: float = 0.0,
    ) -> None:
        """Keep the flush function: it answers each item, in order, and a DomainError fails that item alone.

        At most `max_waiting` items wait; `max_batch` is the most that one flush takes.
        """
        self._flush = flush
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._spacing_s = spacing_s
        self._enough = 1
        self._has_enough = asyncio.Event()
        self._flushed_at = 0.0
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._flusher: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Answer:
        """Return the answer for this item once its batch is flushed.

        Errors: the item's own DomainError; what the flush raised for the whole batch; Unavailable `overloaded`
        when too many items wait. A caller that is cancelled does not take its item back.
        """
        if len(self._waiting) >= self._max_waiting:
            raise Unavailable("too many requests wait", code="overloaded")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if len(self._waiting) >= self._enough:
            self._has_enough.set()
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._drain())
        try:
            return await future
        finally:
            # PERF: what is raised here holds this frame, and the future what is raised: the two would keep each
            # other, and the whole request with them, until a search for cycles, which is rare.
            del future

    async def _drain(self) -> None:
        try:
            while self._waiting:
                await self._keep_distance()
                count = min(len(self._waiting), self._max_batch)
                self._enough = count
                await self._flush_batch([self._waiting.popleft() for _ in range(count)])
        finally:
            # NOTE: here, not in a callback of the task, which runs a little later: an item submitted in between
            # would wait for a flusher that is gone.
            self._flusher = None

    async def _keep_distance(self) -> None:
        """Wait until `spacing_s` after the last flush began, or until as many items wait as it took."""
        loop = asyncio.get_running_loop()
        pause_s = self._flushed_at + self._spacing_s - loop.time()
        if pause_s > 0 and len(self._waiting) < self._enough:
            self._has_enough.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._has_enough.wait()
        self._flushed_at = loop.time()

    async def _flush_batch(self, batch: Sequence[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._flush([item for item, _ in batch])
            answered = list(zip(batch, answers, strict=True))
        except Exception as error:  # noqa: BLE001 - every waiter must hear what went wrong
            _fail_all([future for _, future in batch], error)
            del batch  # as in `submit`: the error holds this frame
        else:
            for (_, future), answer in answered:
                _answer(future, answer)


def _answer(future: asyncio.Future[Answer], answer: Answer | DomainError) -> None:
    if isinstance(answer, DomainError):
        _fail(future, answer)
    elif not future.done():
        future.set_result(answer)


def _fail_all(futures: Sequence[asyncio.Future[Answer]], error: Exception) -> None:
    for future in futures:
        _fail(future, error)


def _fail(future: asyncio.Future[Answer], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
