"""Work on several things at the same time."""

import asyncio
import gc
import weakref

import pytest

from domain.errors import Unavailable
from domain.settlement.together import all_of
from tests.domain.settlement.loop_turns import many_turns


@pytest.fixture
def may_end() -> asyncio.Event:
    return asyncio.Event()


async def fail(message: str) -> str:
    raise Unavailable(message)


async def answered(answer: str) -> str:
    return answer


async def test_answers_come_in_order_once_all_have_ended(may_end: asyncio.Event) -> None:
    async def late() -> str:
        await may_end.wait()
        return "late"

    async def lets_end() -> str:
        may_end.set()
        return "early"

    assert await all_of([late(), lets_end()]) == ["late", "early"]
    assert await all_of([]) == []


async def test_first_failure_is_raised_once_the_others_have_ended(may_end: asyncio.Event) -> None:
    ended: list[str] = []

    async def late() -> str:
        await may_end.wait()
        ended.append("late")
        return "late"

    work = asyncio.create_task(all_of([late(), fail("first"), fail("second"), answered("well")]))
    await many_turns()
    may_end.set()
    with pytest.raises(Unavailable, match="first"):
        await work

    assert ended == ["late"]


async def test_who_waits_no_longer_ends_all(may_end: asyncio.Event) -> None:
    begun, ended = asyncio.Event(), []

    async def endless() -> str:
        try:
            begun.set()
            await may_end.wait()
        finally:
            ended.append("endless")
        return "never"

    work = asyncio.create_task(all_of([fail("first"), endless()]))
    await begun.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work

    assert ended == ["endless"]


async def test_what_a_failure_reached_is_freed_without_a_search_for_cycles() -> None:
    class Request:
        """What is under way while others are waited for."""

    async def fail() -> None:
        raise Unavailable("away")

    async def ask(request: Request) -> weakref.ref[Request]:
        with pytest.raises(Unavailable):
            await all_of([fail()])
        return weakref.ref(request)

    gc.disable()
    try:
        left = await ask(Request())
        await many_turns()  # until the loop has let go of what woke it
        assert left() is None
    finally:
        gc.enable()
