"""The server ends in order while clients keep their connections open."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.api.test_hostile_clients import free_port
from tests.eventually import eventually

ROOT = Path(__file__).resolve().parents[2]
GRACEFUL_TIMEOUT_S = 60


@dataclass
class Server:
    process: asyncio.subprocess.Process
    client: httpx.AsyncClient

    async def stop(self) -> str:
        """Ask the server to stop; return what it printed."""
        self.process.terminate()
        output, _ = await self.process.communicate()
        assert self.process.returncode == 0
        return output.decode()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    port = free_port()
    command = ["-m", "gunicorn", "-k", "api.worker.Worker", "-b", f"127.0.0.1:{port}", "--keep-alive", "75"]
    command += ["--no-control-socket", "--asgi-lifespan", "on", "--graceful-timeout", str(GRACEFUL_TIMEOUT_S)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, "tests.api.lifespan_app:app", cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:

        async def answers() -> bool:
            try:
                return (await client.get("/")).status_code == 200
            except httpx.TransportError:
                return False

        await eventually(answers)
        server = Server(process, client)
        yield server
        if process.returncode is None:
            await server.stop()


async def test_idle_connection_does_not_hold_up_the_end(server: Server) -> None:
    started = time.monotonic()

    output = await server.stop()

    assert output == "who waits is released\nservices are closed\n"
    assert time.monotonic() - started < GRACEFUL_TIMEOUT_S / 2


async def test_idle_connection_does_not_hold_up_a_worker_whose_master_is_gone(server: Server) -> None:
    started = time.monotonic()

    server.process.kill()
    output, _ = await server.process.communicate()

    assert output == b"who waits is released\nservices are closed\n"
    assert time.monotonic() - started < GRACEFUL_TIMEOUT_S / 2


async def test_request_under_way_is_answered_before_the_end(server: Server) -> None:
    slow = asyncio.create_task(server.client.get("/slow"))

    async def has_begun() -> bool:
        return (await server.client.get("/slow/begun")).status_code == 200

    await eventually(has_begun)

    output = await server.stop()

    assert (await slow).text == "ok"
    assert output == "who waits is released\nservices are closed\n"


async def test_streams_are_ended_before_the_end(server: Server) -> None:
    async with server.client.stream("GET", "/stream") as answer:
        chunks = answer.aiter_bytes()
        assert await anext(chunks) == b"begun "

        output = await server.stop()

        assert await anext(chunks) == b"and ended"
    assert output == "who waits is released\nservices are closed\n"


async def test_client_that_does_not_read_is_cut(server: Server) -> None:
    assert server.process.stdout is not None
    port = server.client.base_url.port
    _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")

    async with asyncio.timeout(GRACEFUL_TIMEOUT_S):
        assert await server.process.stdout.readline() == b"the slow client is cut\n"
    assert (await server.client.get("/")).status_code == 200
    writer.close()
    await server.stop()


async def test_connection_that_is_over_is_freed_without_a_search_for_cycles(server: Server) -> None:
    for _ in range(5):
        async with httpx.AsyncClient(base_url=server.client.base_url, trust_env=False) as client:
            await client.get("/")

    async def are_freed() -> bool:
        return (await server.client.get("/connections")).text == "1"

    await eventually(are_freed)
