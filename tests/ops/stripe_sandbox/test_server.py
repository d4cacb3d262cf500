"""The sandbox's own HTTP: what clients may send, and how connections end."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.eventually import eventually

HEAD = b"Host: x\r\nAuthorization: Bearer sk_test_1\r\n"
BALANCE = b"GET /v1/balance HTTP/1.1\r\n" + HEAD + b"\r\n"
FORM = b"amount=500&currency=usd"


@pytest.fixture
def connected(sandbox):
    @asynccontextmanager
    async def connect() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(sandbox.url.rpartition(":")[2]))
        yield reader, writer
        writer.close()
        await writer.wait_closed()

    return connect


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one answer with a length."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    lines = head.lower().split(b"\r\n")
    length = next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
    return int(head.split()[1]), await reader.readexactly(length)


def post(*more: bytes, body: bytes = FORM) -> bytes:
    lines = [b"POST /v1/payment_intents HTTP/1.1", HEAD.strip(), b"Content-Length: %d" % len(body), *more]
    return b"\r\n".join([*lines, b"", body])


async def test_connection_serves_one_request_after_the_other(connected):
    async with connected() as (reader, writer):
        for _ in range(3):
            writer.write(BALANCE)
            status, body = await answer(reader)
            assert (status, body[:1]) == (200, b"{")


async def test_requests_that_come_at_once_are_answered_in_order(connected):
    async with connected() as (reader, writer):
        writer.write(post() + BALANCE + post())
        answers = [await answer(reader) for _ in range(3)]

    assert [b'"object":"balance"' in body for _, body in answers] == [False, True, False]


async def test_request_may_come_in_pieces(connected):
    async with connected() as (reader, writer):
        for byte in post():
            writer.write(bytes([byte]))
            await writer.drain()
        status, body = await answer(reader)

    assert status == 200
    assert b'"amount":500' in body


async def test_client_that_asks_first_is_told_to_go_on(connected):
    async with connected() as (reader, writer):
        request = post(b"Expect: 100-continue")
        head_end = request.index(b"\r\n\r\n") + 4
        writer.write(request[:head_end])
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60) == b"HTTP/1.1 100 Continue\r\n\r\n"

        writer.write(request[head_end:])

        assert (await answer(reader))[0] == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        BALANCE.replace(b"Host: x", b"Connection: close"),
        BALANCE.replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
async def test_connection_is_closed_where_the_client_wants_it(connected, request_bytes):
    async with connected() as (reader, writer):
        writer.write(request_bytes)
        assert (await answer(reader))[0] == 200

        assert await asyncio.wait_for(reader.read(), 60) == b""


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /v1/b\xe4lance HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: some\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, 431),
    ],
)
async def test_what_is_not_spoken_here_is_refused_and_ends_the_connection(connected, request_bytes, status):
    async with connected() as (reader, writer):
        writer.write(request_bytes)
        assert (await answer(reader))[0] == status

        assert await asyncio.wait_for(reader.read(), 60) == b""


async def test_path_is_decoded(sandbox):
    status, body = await sandbox.call(
        "GET", "/v1/payment_intents/pi%5Fabsent", headers={"Authorization": "Bearer sk_test_1"}
    )

    assert status == 404
    assert "pi_absent" in body["error"]["message"]


async def test_long_answer_waits_for_a_slow_reader(sandbox, pay, connected):
    await asyncio.gather(*(pay() for _ in range(300)))

    async with connected() as (reader, writer):
        writer.write(b"GET /_sandbox/state HTTP/1.1\r\n" + HEAD + b"Connection: close\r\n\r\n")
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        got = await asyncio.wait_for(reader.read(), 60)

    assert got.endswith(b"0\r\n\r\n")
    assert got.count(b'"object":"payment_intent"') == 300


async def test_call_under_way_is_answered_before_the_end(run_sandbox, wait_until):
    async with run_sandbox("") as own:
        await own.fault("GET /v1/balance", "delay_ms:300")
        call = asyncio.create_task(own.client.v1.balance.retrieve_async())

        async def is_under_way() -> bool:
            (fault,) = (await own.call("GET", "/_sandbox/faults"))[1]["faults"]
            return bool(fault["hits"])

        await eventually(is_under_way)
        own.process.send_signal(signal.SIGTERM)

        assert (await call).object == "balance"
        assert await asyncio.to_thread(own.process.wait, 60) == 0


async def test_taken_port_is_told(sandbox):
    port = sandbox.url.rpartition(":")[2]
    command = [sys.executable, "-m", "ops.stripe_sandbox", "--port", port]

    ended = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, timeout=60
    )

    assert ended.returncode == 1
    assert "the sandbox ended" in ended.stderr
