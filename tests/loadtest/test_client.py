"""The load client against a server that answers in every awkward way."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import cast

import pytest

from loadtest.client import KEY, Plan, Result, Run, quantile, read_answer, render_requests
from tests.eventually import eventually

ANSWER = b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}"
REQUEST = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handling.append(cast("asyncio.Task[None]", asyncio.current_task()))
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    handling: list[asyncio.Task[None]] = []
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for each in handling:
            each.cancel()
        await asyncio.gather(*handling, return_exceptions=True)


async def run(port: int, **plan: float) -> Result:
    return await Run(Plan("127.0.0.1", port, [REQUEST], connections=2, **plan)).run(lambda _: None)


@pytest.mark.parametrize("cut", range(len(ANSWER)))
def test_an_answer_is_read_when_its_last_byte_is_there(cut: int) -> None:
    assert read_answer(ANSWER[:cut]) is None
    assert read_answer(ANSWER) == (202, len(ANSWER))


@pytest.mark.parametrize("data", [b"SSH-2.0\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"])
def test_what_cannot_be_measured_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="answer"):
        read_answer(data)


def test_no_content_has_no_length() -> None:
    answer = b"HTTP/1.1 204 No Content\r\n\r\n"
    assert read_answer(answer) == (204, len(answer))


def test_requests_rotate_and_never_share_a_key() -> None:
    requests = render_requests([f"a {KEY}", f"b {KEY}"])
    drawn = [next(requests) for _ in range(100)]
    assert [request[:1] for request in drawn] == [b"a", b"b"] * 50
    assert len({request[1:] for request in drawn}) == 100


def test_quantiles_are_of_the_values() -> None:
    assert [quantile([1.0, 2.0, 3.0, 4.0], share) for share in (0.0, 0.5, 1.0)] == [1.0, 3.0, 4.0]
    assert quantile([], 0.5) == 0.0


async def test_a_limit_is_reached_exactly_when_answers_come_in_pieces() -> None:
    async def in_pieces(writer: asyncio.StreamWriter) -> None:
        for piece in (ANSWER[:9], ANSWER[9:40], ANSWER[40:]):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    async with serving(in_pieces) as port:
        result = await run(port, seconds=10, limit=25)
    assert result.statuses == {202: 25}
    assert result.answers == 25


async def test_lost_connections_count_as_failures_and_are_replaced() -> None:
    answered = 0

    async def cut_every_third(writer: asyncio.StreamWriter) -> None:
        nonlocal answered
        answered += 1
        if answered % 3 == 0:
            writer.close()
        else:
            writer.write(ANSWER)

    async with serving(cut_every_third) as port:
        result = await run(port, seconds=10, limit=9)
    assert result.statuses == {202: 6, 0: 3}
    assert result.failures(202) == 3


async def test_an_open_loop_charges_the_wait_for_a_slow_server_to_its_latency() -> None:
    async def slowly(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        writer.write(ANSWER)

    async with serving(slowly) as port:
        # Two connections answer 40 a second; 100 are due.
        result = await run(port, seconds=10, rate=100, limit=20)
    assert result.statuses == {202: 20}
    assert result.max_ms > 200


async def test_an_open_loop_counts_the_time_of_answers_that_come_after_its_end() -> None:
    async def slowly(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        writer.write(ANSWER)

    async with serving(slowly) as port:
        # Two connections answer at most 40 a second, and so need longer than the requests to come.
        result = await run(port, seconds=0.2, rate=100)
    assert result.per_second <= 40


async def test_every_answer_of_a_whole_second_is_in_the_timeline() -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(ANSWER)

    async def counted() -> Result | None:
        """Count again where the machine stood still for all of that second."""
        result = await run(port, seconds=1.05)
        return result if result.timeline and result.timeline[0][0] else None

    async with serving(answer) as port:
        result = await eventually(counted)

    assert result is not None
    (count, p50_ms, p99_ms) = result.timeline[0]
    assert 0 < count <= result.answers
    assert 0 < p50_ms <= p99_ms <= result.max_ms
