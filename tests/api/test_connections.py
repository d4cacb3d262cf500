"""A connection under clients that ask for much at once, read nothing, or expect HTTP/1.0; in this process."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger

import api.worker
from api.worker import Connection, Worker
from tests.eventually import eventually

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST /read HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
LARGE = 40_000
"""More than the buffers of a connection that are made small hold, and less than stops it from writing."""
SMALL = 4_096


class Host:
    """As much of a worker as its connections ask for, and an application that answers after the path."""

    admit = Worker.admit

    def __init__(self) -> None:
        self.cfg = Config()
        self.log = Logger(self.cfg)
        self.loop = asyncio.get_running_loop()
        self.alive, self.is_leaving, self.state = True, False, dict[str, Any]()
        self.nr, self.nr_conns, self.max_requests = 0, 0, sys.maxsize
        self.connections: dict[Connection, None] = {}
        self.most_connections = sys.maxsize
        self.turns = 0
        self.answered_at: list[int] = []
        self.streams = 0

    async def asgi(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["path"] == "/stream":
            await self.stream(send)
            return
        if scope["path"] == "/read":
            while (await receive()).get("more_body"):
                pass
        self.answered_at.append(self.turns)
        body = bytes(LARGE if scope["path"] == "/large" else 2)
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
        )
        await send({"type": "http.response.body", "body": body})

    async def stream(self, send: Send) -> None:
        self.streams += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(5):
            await send({"type": "http.response.body", "body": b"tick ", "more_body": True})
            await asyncio.sleep(0.1)
        await send({"type": "http.response.body", "body": b"and end"})

    async def count_turns(self) -> None:
        while True:
            self.turns += 1
            await asyncio.sleep(0)


@pytest.fixture
async def host() -> Host:
    return Host()


@pytest.fixture
async def address(host: Host) -> AsyncIterator[tuple[str, int]]:
    """Where connections are taken whose buffers in the kernel are small."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
    server = await host.loop.create_server(lambda: Connection(host), sock=listening)
    yield listening.getsockname()
    server.close()
    for connection in host.connections:
        connection.transport.abort()
    await eventually(lambda: not host.nr_conns)


async def exchange(address: tuple[str, int], *parts: bytes) -> bytes:
    """Send something, and more once an answer begins; return all that comes until the server closes."""
    reader, writer = await asyncio.open_connection(*address)
    received = b""
    async with asyncio.timeout(60):
        for part in parts:
            writer.write(part)
            received += await reader.read(1)
        received += await reader.read()
    writer.close()
    return received


async def read_nothing(address: tuple[str, int], request: bytes) -> socket.socket:
    """Ask for something, and never read the answer."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, address)
    await loop.sock_sendall(client, request)
    return client


async def test_others_have_a_turn_between_requests_that_come_in_one_piece(
    host: Host, address: tuple[str, int]
) -> None:
    counting = asyncio.create_task(host.count_turns())

    await exchange(address, 49 * GET + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    counting.cancel()

    assert len(set(host.answered_at)) == len(host.answered_at) == 50


@pytest.mark.parametrize("chunks", [1, 1_000])
async def test_body_may_come_in_many_chunks(address: tuple[str, int], chunks: int) -> None:
    answer = await exchange(address, CHUNKED + b"1\r\nx\r\n" * chunks + b"0\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_body_in_too_many_pieces_is_refused(host: Host, address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    await eventually(lambda: host.connections)
    (connection,) = host.connections

    connection.data_received(CHUNKED + b"1\r\nx\r\n" * 40_000)

    async with asyncio.timeout(60):
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()


@pytest.mark.parametrize("more", [b"", b"\r\nConnection: close"])
async def test_who_never_reads_the_end_of_an_answer_is_cut(
    host: Host, address: tuple[str, int], monkeypatch: pytest.MonkeyPatch, more: bytes
) -> None:
    monkeypatch.setattr(api.worker, "_STALLED_S", 0.1)
    host.cfg.set("keepalive", 1)

    with await read_nothing(address, GET.replace(b" /", b" /large").replace(b"\r\n\r\n", more + b"\r\n\r\n")):
        await eventually(lambda: host.answered_at)
        await eventually(lambda: not host.nr_conns)


async def test_who_reads_nothing_makes_room_at_once(host: Host, address: tuple[str, int]) -> None:
    with await read_nothing(address, GET.replace(b" /", b" /large")):
        await eventually(lambda: host.answered_at)
        (connection,) = host.connections

        connection.close_silently()

        await eventually(lambda: not host.nr_conns)


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost",
        b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n1",
        CHUNKED + b"5\r\n1",
        3 * GET.replace(b" /", b" /large"),
    ],
    ids=["nothing", "head", "body", "chunk", "answer"],
)
async def test_who_keeps_it_waiting_makes_room(host: Host, address: tuple[str, int], request_: bytes) -> None:
    host.most_connections = 3
    closing = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")

    with ExitStack() as held:
        for _ in range(host.most_connections):
            held.enter_context(await read_nothing(address, request_))
        await eventually(lambda: host.nr_conns == host.most_connections)
        await eventually(lambda: all(connection.keeps_waiting() for connection in host.connections))

        assert (await exchange(address, closing)).startswith(b"HTTP/1.1 200 ")
        await eventually(lambda: not host.nr_conns)


async def test_who_waits_for_an_answer_makes_no_room(host: Host, address: tuple[str, int]) -> None:
    host.most_connections = 1

    stream = asyncio.create_task(
        exchange(address, b"GET /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    )
    await eventually(lambda: host.streams)

    assert await exchange(address, b"") == b""
    assert (await stream).endswith(b"and end\r\n0\r\n\r\n")


async def test_answer_that_begins_before_its_request_is_there_is_the_last(address: tuple[str, int]) -> None:
    """What is still to come of the body would be read as the next request."""
    answer = await exchange(address, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")

    assert b"\r\nConnection: close\r\n" in answer


@pytest.mark.parametrize("parts", [(b"Transfer-Encoding: chunked", b"no chunk\r\n"), (b"Content-Length: 5",)])
async def test_nothing_is_told_in_the_middle_of_an_answer(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch, parts: Sequence[bytes]
) -> None:
    """Its client would read that as a part of it."""
    monkeypatch.setattr(api.worker, "_REQUEST_S", 0.2)
    framing, *more = parts

    answer = await exchange(address, b"GET /stream HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n" % framing, *more)

    assert b"tick" in answer
    assert b"and end" not in answer
    assert answer.count(b"HTTP/1.1") == 1


async def test_answer_to_http_1_0_ends_with_the_connection(address: tuple[str, int]) -> None:
    """Without a length it has no other end."""
    request = b"GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"

    answer = await exchange(address, request + request)

    assert answer.endswith(b"and end")
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.count(b"HTTP/1.0 200") == 1


async def test_empty_line_behind_a_body_is_no_request_that_is_late(
    host: Host, address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.worker, "_REQUEST_S", 0.2)
    host.cfg.set("keepalive", 1)
    post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"

    answer = await exchange(address, post, b"\r\n")

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1") == 1


async def test_code_of_a_refusal_does_not_depend_on_how_python_calls_it(address: tuple[str, int]) -> None:
    answer = await exchange(address, b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % (9_000 * b"a"))

    assert answer.startswith(b"HTTP/1.1 414 URI Too Long\r\n")
    assert b'"code": "uri_too_long"' in answer
