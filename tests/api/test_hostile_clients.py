"""The real server and clients that speak HTTP badly, slowly or not at all: others are served all the same."""

import asyncio
import contextlib
import os
import random
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType

import pytest

from domain.identity.model import Role, User
from ops.settings import Settings
from tests.eventually import eventually

TokenOf = Callable[[User | Role], dict[str, str]]
ROOT = Path(__file__).resolve().parents[2]
FEW_FILES = 512
SLOWNESS_S = 0.1
DEADLINE_S = 60.0
START_DEADLINE_S = 120.0


class Server:
    """A running server, spoken to byte by byte."""

    def __init__(self, port: int, process: asyncio.subprocess.Process) -> None:
        self.port = port
        self.process = process

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def exchange(self, request: bytes) -> bytes:
        """Send bytes, and return all that comes back until the server closes."""
        reader, writer = await self.open()
        async with asyncio.timeout(DEADLINE_S):
            with contextlib.suppress(ConnectionError):
                writer.write(request)
                await writer.drain()
            answer = await read_to_end(reader)
        writer.close()
        return answer

    async def is_serving(self, headers: Mapping[str, str] = MappingProxyType({})) -> bool:
        """Whether a client that does nothing wrong is answered, on a connection of its own."""
        lines = [
            "GET /v1/orders HTTP/1.1" if headers else "GET /health/live HTTP/1.1",
            "Host: x",
            "Connection: close",
        ]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        with contextlib.suppress(ConnectionError):
            return (await self.exchange("\r\n".join([*lines, "", ""]).encode())).startswith(b"HTTP/1.1 200 ")
        return False


def free_port() -> int:
    """Return a port below those that outgoing connections and the servers of other tests are given."""
    while True:
        port = random.randrange(10_000, 20_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@asynccontextmanager
async def holding(server: Server, number: int) -> AsyncIterator[None]:
    """Keep so many connections on which nothing is ever asked."""

    def connect(more: int) -> list[socket.socket]:
        return [socket.create_connection(("127.0.0.1", server.port)) for _ in range(more)]

    held: list[socket.socket] = []
    try:
        while len(held) < number:
            held += await asyncio.to_thread(connect, min(500, number - len(held)))
            assert await server.is_serving(), len(held)
        yield
    finally:
        for connection in held:
            connection.close()


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    """Return what comes; a reset ends it like a close, and takes nothing back that was read."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while part := await reader.read(65_536):
            received += part
    return received


@asynccontextmanager
async def serving(
    settings: Settings, application: str, port: int, var: Path, files: int, **other: str
) -> AsyncIterator[Server]:
    """Run the server as it is run in production, with so many files at most; settings may be added."""
    given = {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "BROKER_URL": settings.broker_url,
        "REDIS_TIMEOUT_S": str(settings.redis_timeout_s),
        "BROKER_TIMEOUT_S": str(settings.broker_timeout_s),
        "DATABASE_STATEMENT_TIMEOUT_S": str(settings.database_statement_timeout_s),
        "JWT_SECRET": settings.jwt_secret.get_secret_value(),
        "ADDRESS_LIMIT_PER_MINUTE": "1000000",
        "RATE_LIMIT_PER_MINUTE": "1000000",
        "RATE_LIMIT_BURST": "1000000",
        "API_PORT": str(port),
        "API_WORKERS": "1",
        "VAR_DIR": str(var),
        **other,
    }
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", f'ulimit -n {files} && exec "$@"', "sh"),
        *(sys.executable, "-m", "gunicorn", "-c", "api/gunicorn_conf.py", application),
        cwd=ROOT,
        start_new_session=True,
        env={**os.environ, **{f"MARKETFLOW_{name}": value for name, value in given.items()}},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    server = Server(port, process)
    try:
        await eventually(server.is_serving, START_DEADLINE_S)
        yield server
    finally:
        # An orderly end would wait for the clients; this one ends the master and its worker.
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


@pytest.fixture(scope="module")
def files() -> int:
    """How many files a process may have open here."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return hard if hard != resource.RLIM_INFINITY else 65_536


@pytest.fixture(scope="module")
async def server(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory, files: int
) -> AsyncIterator[Server]:
    var = tmp_path_factory.mktemp("server")
    async with serving(settings, "api.main:create()", free_port(), var, files) as server:
        yield server


@pytest.fixture(scope="module")
async def impatient(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server that waits a second for a request."""
    var = tmp_path_factory.mktemp("impatient")
    async with serving(settings, "tests.api.impatient_app:create()", free_port(), var, FEW_FILES) as server:
        yield server


@pytest.fixture(scope="module")
async def small(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server that may open few files, and is as patient as any."""
    var = tmp_path_factory.mktemp("small")
    async with serving(settings, "api.main:create()", free_port(), var, FEW_FILES) as server:
        yield server


@pytest.fixture
def room_for_clients(files: int) -> Iterator[int]:
    """Let this process open as many connections as it may, and say how many that are, ten thousand at most."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, before[1]), before[1]))
    yield min(10_000, files - 1_000)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


HEAD = b"GET /v1/products HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
HIDDEN = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
MALFORMED = {
    "huge header": HEAD + b"X: " + b"x" * 100_000 + b"\r\n\r\n",
    "header without end": HEAD + b"X: " + b"x" * 1_000_000,
    "thousands of headers": HEAD + b"X: x\r\n" * 5_000 + b"\r\n",
    "huge request line": b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64 + b"\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "no host": b"GET /v1/products HTTP/1.1\r\nAccept: */*\r\n\r\n",
    "two hosts": HEAD + b"Host: y\r\n\r\n",
    "NUL in a header": HEAD + b"X: a\x00b\r\n\r\n",
    "space before the colon": HEAD + b"Content-Length : 5\r\n\r\n",
    "folded header": HEAD + b"X: a\r\n b\r\n\r\n",
    "bare line feed": b"GET /v1/products HTTP/1.1\nHost: x\n\n",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 50\r\n\r\n" + HIDDEN,
    "list of lengths": POST + b"Content-Length: 5, 50\r\n\r\n" + HIDDEN,
    "signed length": POST + b"Content-Length: +5\r\n\r\n" + HIDDEN,
    "hexadecimal length": POST + b"Content-Length: 0x5\r\n\r\n" + HIDDEN,
    "length and chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "chunked is not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + HIDDEN,
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "chunks in HTTP/1.0": POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "chunk size that overflows": POST
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + b"F" * 17
    + b"\r\n"
    + b"x" * 500_000,
    "chunk size without end": POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 100_000,
    "negative chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n" + HIDDEN,
    "chunk size with a prefix": POST + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n" + HIDDEN,
    "chunk size with an underscore": POST + b"Transfer-Encoding: chunked\r\n\r\n0_2\r\n{}\r\n0\r\n\r\n" + HIDDEN,
    "chunk longer than its size": POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}{}\r\n0\r\n\r\n" + HIDDEN,
    "huge chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nFFFFFF\r\n" + b"x" * 500_000,
    "huge extension": POST + b"Transfer-Encoding: chunked\r\n\r\n2;" + b"x" * 100_000,
    "length of many digits": POST + b"Content-Length: " + b"1" * 4_400 + b"\r\n\r\n" + HIDDEN,
    "huge length": POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n" + b"x" * 500_000,
}


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED.keys())
async def test_malformed_request_is_refused_once_and_its_connection_closed(
    server: Server, request_bytes: bytes
) -> None:
    """Whoever reads differently where a request ends could be made to do another one (request smuggling)."""
    answer = await server.exchange(request_bytes)

    statuses = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert len(statuses) <= 1, answer
    assert all(status[:1] == b"4" or status == b"501" for status in statuses)
    if statuses:
        assert (
            b"Content-Type: application/problem+json" in answer
            or b"content-type: application/problem+json" in answer
        )
        assert b"xxx" not in answer, "it is quoted"
    assert await server.is_serving()


async def test_host_must_be_named_as_of_http_1_1(server: Server) -> None:
    line = b"GET /health/live HTTP/1.1\r\nConnection: close\r\n\r\n"

    assert (await server.exchange(line)).startswith(b"HTTP/1.1 400 ")
    assert (await server.exchange(line.replace(b"1.1", b"1.0"))).startswith(b"HTTP/1.0 200 ")
    assert (await server.exchange(HIDDEN)).startswith(b"HTTP/1.1 200 ")


async def test_length_of_more_digits_than_python_reads_is_answered(server: Server) -> None:
    answer = await server.exchange(POST + b"Content-Length: " + b"1" * 4_400 + b"\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(("path", "status"), [("/v1/products", b"200"), ("/v1/events", b"401"), ("/nope", b"404")])
async def test_who_asks_for_a_websocket_is_answered_in_http(server: Server, path: str, status: bytes) -> None:
    answer = await server.exchange(
        b"GET %b HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n" % path.encode()
    )

    assert answer.startswith(b"HTTP/1.1 %b " % status)
    assert b"x-request-id" in answer.lower()


async def test_clients_that_come_at_one_moment_are_all_heard(server: Server) -> None:
    """The server is stopped meanwhile, so whoever is connected is waiting in the queue of the listening socket."""
    wanted = min(1_000, socket.SOMAXCONN)

    os.killpg(server.process.pid, signal.SIGSTOP)
    try:
        with contextlib.ExitStack() as connected:
            for _ in range(wanted):
                connected.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=5))
    finally:
        os.killpg(server.process.pid, signal.SIGCONT)

    assert await server.is_serving()


async def test_idle_connections_keep_nobody_out(server: Server, token_of: TokenOf, room_for_clients: int) -> None:
    buyer = token_of(Role.BUYER)

    async with holding(server, room_for_clients):
        assert await server.is_serving(buyer)
    assert await server.is_serving(buyer)


async def test_slow_clients_are_given_up(impatient: Server) -> None:
    async def dribble(beginning: bytes) -> bytes:
        reader, writer = await impatient.open()
        writer.write(beginning)
        answer = asyncio.create_task(read_to_end(reader))
        async with asyncio.timeout(DEADLINE_S):
            while not answer.done():
                with contextlib.suppress(ConnectionError):
                    writer.write(b"x")
                    await writer.drain()
                await asyncio.wait([answer], timeout=SLOWNESS_S)
        writer.close()
        return answer.result()

    slow = {
        "head": HEAD + b"X: ",
        "body": POST + b"Content-Length: 50000\r\n\r\n",
        "chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nFFFF\r\n",
        "second request": HIDDEN.replace(b"close", b"keep-alive") + HEAD + b"X: ",
    }

    async def is_told(beginning: bytes) -> bool:
        """Who was too slow to say anything, as a machine may be, is let go without a word, and comes again."""
        answer = await dribble(beginning)
        *_, last = answer.split(b"HTTP/1.1 ")
        assert last.startswith(b"408 Request Timeout"), answer
        return b"request_timeout" in last

    assert await asyncio.gather(*(eventually(partial(is_told, each)) for each in slow.values()))


async def test_client_that_says_nothing_is_let_go_without_a_word(impatient: Server) -> None:
    assert await impatient.exchange(b"") == b""


async def test_silent_clients_make_room_before_files_run_out(small: Server, token_of: TokenOf) -> None:
    """More connections than the server has files for, kept up: who asks something is served."""
    buyer = token_of(Role.BUYER)

    async with holding(small, 2 * FEW_FILES):
        assert await small.is_serving(buyer)
