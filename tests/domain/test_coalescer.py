import asyncio
import gc
import weakref
from collections.abc import Sequence

import pytest

from domain.coalescer import Coalescer
from domain.errors import Conflict, DomainError, Unavailable

PATIENCE_S = 60
"""Less than the distance between batches, and more than any machine stands still."""


class Sink:
    """A flush that waits for its gate, and keeps its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def flush(self, items: Sequence[int]) -> list[int | DomainError]:
        self.batches.append(list(items))
        await self.gate.wait()
        if 13 in items:
            raise OSError("the whole batch")
        return [Conflict(f"no {item}") if item < 0 else 10 * item for item in items]


@pytest.fixture
def sink() -> Sink:
    return Sink()


async def turns(count: int = 5) -> None:
    """Let everything run that can run now."""
    for _ in range(count):
        await asyncio.sleep(0)


async def busy(sink: Sink, coalescer: Coalescer[int, int]) -> asyncio.Task[int]:
    """Make the only flusher wait with the item 1."""
    sink.gate.clear()
    first = asyncio.create_task(coalescer.submit(1))
    await turns()
    assert sink.batches == [[1]]
    return first


async def test_item_alone_goes_at_once_as_a_batch_of_one(sink: Sink) -> None:
    coalescer: Coalescer[int, int] = Coalescer(sink.flush, max_batch=10)

    assert await coalescer.submit(1) == 10
    assert sink.batches == [[1]]


async def test_items_gather_while_the_flusher_is_busy(sink: Sink) -> None:
    coalescer: Coalescer[int, int] = Coalescer(sink.flush, max_batch=3)
    first = await busy(sink, coalescer)
    others = [asyncio.create_task(coalescer.submit(number)) for number in range(2, 7)]
    await turns()

    sink.gate.set()

    assert await asyncio.gather(first, *others) == [10, 20, 30, 40, 50, 60]
    assert sink.batches == [[1], [2, 3, 4], [5, 6]]


async def test_too_many_waiting_items_are_refused(sink: Sink) -> None:
    coalescer: Coalescer[int, int] = Coalescer(sink.flush, max_batch=3, max_waiting=2)
    first = await busy(sink, coalescer)
    others = [asyncio.create_task(coalescer.submit(number)) for number in (2, 3)]
    await turns()

    with pytest.raises(Unavailable) as refusal:
        await asyncio.wait_for(coalescer.submit(4), timeout=5)
    sink.gate.set()

    assert refusal.value.code == "overloaded"
    assert await asyncio.gather(first, *others) == [10, 20, 30]


async def test_error_of_the_batch_reaches_every_waiter_and_the_next_batch_goes_on(sink: Sink) -> None:
    coalescer: Coalescer[int, int] = Coalescer(sink.flush, max_batch=2)
    first = await busy(sink, coalescer)
    others = [asyncio.create_task(coalescer.submit(number)) for number in (12, 13, 14)]
    await turns()

    sink.gate.set()
    answers = await asyncio.gather(first, *others, return_exceptions=True)

    assert [type(answer) for answer in answers] == [int, OSError, OSError, int]


async def test_error_of_an_item_is_its_own(sink: Sink) -> None:
    coalescer: Coalescer[int, int] = Coalescer(sink.flush, max_batch=10)

    answers = await asyncio.gather(*map(coalescer.submit, (1, -2, 3)), return_exceptions=True)

    assert answers[0] == 10
    assert isinstance(answers[1], Conflict)
    assert answers[2] == 30
    assert len(sink.batches) == 1


@pytest.mark.parametrize("item", [-1, 13], ids=["of its own", "of the batch"])
async def test_what_an_error_reached_is_freed_without_a_search_for_cycles(sink: Sink, item: int) -> None:
    class Request:
        """What is under way while an item waits."""

    async def ask(request: Request) -> weakref.ref[Request]:
        with pytest.raises((Conflict, OSError)):
            await coalescer.submit(item)
        return weakref.ref(request)

    coalescer: Coalescer[int, int] = Coalescer(sink.flush, max_batch=10)
    gc.disable()
    try:
        left = await ask(Request())
        await turns()
        assert left() is None
    finally:
        gc.enable()


async def test_wrong_number_of_answers_fails_every_waiter() -> None:
    async def forgetful(items: Sequence[int]) -> list[int | DomainError]:
        return list(items[1:])

    coalescer: Coalescer[int, int] = Coalescer(forgetful, max_batch=10)

    answers = await asyncio.gather(coalescer.submit(1), coalescer.submit(2), return_exceptions=True)

    assert [type(answer) for answer in answers] == [ValueError, ValueError]


async def test_cancelled_waiter_leaves_its_neighbours_alone(sink: Sink) -> None:
    coalescer: Coalescer[int, int] = Coalescer(sink.flush, max_batch=10)
    first = await busy(sink, coalescer)
    gives_up, stays = (asyncio.create_task(coalescer.submit(number)) for number in (2, 3))
    await turns()

    first.cancel()
    gives_up.cancel()
    await turns()
    sink.gate.set()

    assert await asyncio.wait_for(stays, timeout=5) == 30
    assert first.cancelled()
    assert gives_up.cancelled()
    assert sink.batches == [[1], [2, 3]]


@pytest.mark.parametrize(("given_up", "ends"), [(-2, int), (13, OSError)])
async def test_error_that_nobody_waits_for_any_more_leaves_the_neighbours_alone(
    sink: Sink, given_up: int, ends: type
) -> None:
    coalescer: Coalescer[int, int] = Coalescer(sink.flush, max_batch=10)
    first = await busy(sink, coalescer)
    gives_up, stays = (asyncio.create_task(coalescer.submit(number)) for number in (given_up, 3))
    await turns()

    gives_up.cancel()
    await turns()
    sink.gate.set()

    async with asyncio.timeout(PATIENCE_S):
        answers = await asyncio.gather(first, stays, return_exceptions=True)
    assert [type(answer) for answer in answers] == [int, ends]


async def test_item_that_follows_an_answer_at_once_is_not_forgotten(sink: Sink) -> None:
    coalescer: Coalescer[int, int] = Coalescer(sink.flush, max_batch=10)

    async with asyncio.timeout(5):
        answers = [await coalescer.submit(number) for number in range(10)]

    assert answers == [10 * number for number in range(10)]


async def test_batches_under_load_keep_their_distance(sink: Sink) -> None:
    coalescer: Coalescer[int, int] = Coalescer(sink.flush, max_batch=9, spacing_s=3600)
    await asyncio.gather(*(coalescer.submit(number) for number in (1, 2, 3)))

    early = []
    for number in (4, 5):
        early.append(asyncio.create_task(coalescer.submit(number)))
        await turns()
        assert sink.batches == [[1, 2, 3]]
    for task in early:
        task.cancel()


async def test_batch_that_stays_small_goes_once_its_distance_is_kept(sink: Sink) -> None:
    coalescer: Coalescer[int, int] = Coalescer(sink.flush, max_batch=9, spacing_s=0.05)
    await asyncio.gather(*(coalescer.submit(number) for number in (1, 2, 3)))

    async with asyncio.timeout(PATIENCE_S):
        assert await coalescer.submit(4) == 40
    assert sink.batches == [[1, 2, 3], [4]]


async def test_batch_as_large_as_the_last_waits_for_no_distance(sink: Sink) -> None:
    coalescer: Coalescer[int, int] = Coalescer(sink.flush, max_batch=9, spacing_s=3600)
    await asyncio.gather(*(coalescer.submit(number) for number in (1, 2, 3)))

    early = [asyncio.create_task(coalescer.submit(number)) for number in (4, 5)]
    await turns()

    async with asyncio.timeout(PATIENCE_S):
        assert await asyncio.gather(*early, coalescer.submit(6)) == [40, 50, 60]
    assert sink.batches == [[1, 2, 3], [4, 5, 6]]


async def test_items_that_come_alone_are_not_held_up(sink: Sink) -> None:
    coalescer: Coalescer[int, int] = Coalescer(sink.flush, max_batch=9, spacing_s=3600)

    async with asyncio.timeout(PATIENCE_S):
        assert [await coalescer.submit(number) for number in (1, 2)] == [10, 20]
    assert sink.batches == [[1], [2]]
