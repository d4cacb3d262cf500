"""Webhooks over real sockets: what an answer is, what a redirect is not, and where no request ever goes."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from domain.clock import SystemClock
from domain.notifications.model import Answered, Unanswered
from ops import tracing
from tests.dead_names import dead_names
from tests.otlp import collecting
from workers.webhook_sender import AiohttpSender, read_retry_after

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[int]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start servers on ports of their own; they stop after the test."""
    runners: list[web.AppRunner] = []

    async def start(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> int:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runners.append(runner := web.AppRunner(app, shutdown_timeout=0.1))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return int(runner.addresses[0][1])

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def sender() -> AsyncIterator[AiohttpSender]:
    sender = AiohttpSender(SystemClock(), timeout_s=60, allow_private_targets=True)
    yield sender
    await sender.close()


@pytest.fixture
async def strict() -> AsyncIterator[AiohttpSender]:
    """A sender as in production."""
    sender = AiohttpSender(SystemClock(), timeout_s=60, allow_private_targets=False)
    yield sender
    await sender.close()


class Rebinding(AbstractResolver):
    """A names' service that leads to a public address when it is first asked, and inside afterwards."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = list(addresses)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        address = self._addresses.pop(0) if len(self._addresses) > 1 else self._addresses[0]
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [{"hostname": host, "host": address, "port": port, "family": kind, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        """Hold nothing."""


async def test_body_and_headers_arrive_as_they_were_signed(serve: Serve, sender: AiohttpSender) -> None:
    seen: list[tuple[dict[str, str], bytes]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((dict(request.headers), await request.read()))
        return web.Response(text="thank you")

    port = await serve(answer)

    sent = await sender.send(f"http://127.0.0.1:{port}/", {"webhook-id": "e-1"}, b'{"a":1}')

    assert isinstance(sent, Answered)
    assert (sent.status, sent.body_start, sent.retry_after_s) == (200, "thank you", None)
    ((headers, body),) = seen
    assert body == b'{"a":1}'
    assert headers["webhook-id"] == "e-1"
    assert headers["Content-Type"] == "application/json"


async def test_redirect_is_an_answer_and_is_not_followed(serve: Serve, sender: AiohttpSender) -> None:
    paths: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        paths.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    port = await serve(answer)

    sent = await sender.send(f"http://127.0.0.1:{port}/here", {}, b"{}")

    assert isinstance(sent, Answered)
    assert (sent.status, paths) == (307, ["/here"])


async def test_of_an_answer_only_the_start_is_kept(serve: Serve, sender: AiohttpSender) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=500, body=b"\x00\xff" + b"x" * 1_000_000)

    sent = await sender.send(f"http://127.0.0.1:{await serve(answer)}/", {}, b"{}")

    assert isinstance(sent, Answered)
    assert sent.body_start == "\ufffd\ufffd" + "x" * 498


async def test_answer_of_a_server_that_compresses_can_be_read(serve: Serve, sender: AiohttpSender) -> None:
    async def complaining(_: web.Request) -> web.Response:
        answer = web.Response(status=422, text="the order is not known here")
        answer.enable_compression()  # as far as the request takes it
        return answer

    port = await serve(complaining)

    answer = await sender.send(f"http://127.0.0.1:{port}/hooks", {}, b"{}")

    assert isinstance(answer, Answered)
    assert answer.body_start == "the order is not known here"


async def test_endless_answer_is_cut_off(
    serve: Serve, sender: AiohttpSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.webhook_sender._EXCERPT_TIMEOUT_S", 0.05)

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"well")
        await asyncio.Event().wait()
        return response

    sent = await sender.send(f"http://127.0.0.1:{await serve(answer)}/", {}, b"{}")

    assert isinstance(sent, Answered)
    assert (sent.status, sent.body_start) == (200, "well")


@pytest.mark.parametrize(("interim", "end"), [(16, "thanks"), (17, "answer_invalid"), (10_000, "answer_invalid")])
async def test_server_may_put_its_answer_off_a_few_times(sender: AiohttpSender, interim: int, end: str) -> None:
    """Whoever never stops saying "continue" would hold the event loop and fill the memory."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * interim)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nthanks")
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        sent = [await sender.send(url, {}, b"{}") for _ in range(2)]
        await sender.close()

    found = [one.body_start if isinstance(one, Answered) else one.reason for one in sent]
    assert found == [end] * 2


async def test_silent_server_is_a_timeout(silent_port: int) -> None:
    sender = AiohttpSender(SystemClock(), timeout_s=0.1, allow_private_targets=True)

    sent = await sender.send(f"http://127.0.0.1:{silent_port}/", {}, b"{}")
    await sender.close()

    assert isinstance(sent, Unanswered)
    assert sent.reason == "timeout"


async def test_closed_port_and_unknown_name_and_odd_url_are_answers(
    sender: AiohttpSender, closed_port: int
) -> None:
    urls = [f"http://127.0.0.1:{closed_port}/", "http://no-such-host.invalid/", "http://"]

    sent = [await sender.send(url, {}, b"{}") for url in urls]

    reasons = [one.reason for one in sent if isinstance(one, Unanswered)]
    assert reasons == ["connection_failed", "name_not_resolved", "url_invalid"]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0.0.0.0",  # noqa: S104 - what is bound to all interfaces answers there
        "[::1]",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
    ],
)
async def test_private_target_is_never_connected_to(serve: Serve, strict: AiohttpSender, host: str) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response()

    sent = await strict.send(f"http://{host}:{await serve(answer)}/", {}, b"{}")

    assert isinstance(sent, Unanswered)
    assert sent.reason in {"target_refused", "url_invalid"}
    assert asked == []


@pytest.mark.parametrize("inside", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "169.254.169.254"])
async def test_name_that_points_inside_once_it_was_checked_leads_nowhere(
    serve: Serve, strict: AiohttpSender, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    """DNS rebinding: whoever checked the name before was told a public address."""
    names = Rebinding("93.184.216.34", inside)
    monkeypatch.setattr("workers.webhook_sender.Resolver", lambda **_: names)
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response()

    port = await serve(answer)
    (checked,) = await names.resolve("rebound.example.com", port)
    assert checked["host"] == "93.184.216.34"

    sent = await strict.send(f"http://rebound.example.com:{port}/", {}, b"{}")

    assert isinstance(sent, Unanswered)
    assert (sent.reason, asked, names.asked) == ("target_refused", [], 2)


async def test_names_for_which_no_server_answers_hold_up_no_other_webhook(
    serve: Serve, sender: AiohttpSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="thank you")

    port = await serve(answer)
    with dead_names(monkeypatch):
        waiting = [
            asyncio.create_task(sender.send(f"http://dead-{number}.example:{port}/", {}, b"{}"))
            for number in range(40)
        ]
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            sent = await sender.send(f"http://localhost:{port}/", {}, b"{}")
    dead = await asyncio.gather(*waiting)

    assert isinstance(sent, Answered)
    assert {one.reason for one in dead if isinstance(one, Unanswered)} == {"name_not_resolved"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("9" * 50, None),
        ("\u0663", None),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0.0),
        ("1 Jan 2020 00:00:00 +999999999999999999", None),
        ("1 Jan 2020 00:00:00 +9999999", None),
        ("1 Jan 0001 00:00:00 +2359", 0.0),
    ],
)
def test_retry_after_is_read_in_both_forms(value: str | None, expected: Any) -> None:
    assert read_retry_after(value, NOW) == expected


async def test_webhook_that_fails_is_traced_whatever_the_ratio(serve: Serve, sender: AiohttpSender) -> None:
    statuses = iter([204, 503])

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=next(statuses))

    url = f"http://127.0.0.1:{await serve(answer)}/a-secret-path"
    with collecting() as collector:
        tracing.start_tracing("test", otlp_endpoint=collector.url, sample_ratio=0)
        for _ in range(2):
            await sender.send(url, {}, b"{}")
        await asyncio.to_thread(tracing.stop_tracing)

    (failure,) = collector.spans
    assert (failure.name, failure.is_error) == ("POST webhook", True)
    assert failure.attributes["http.response.status_code"] == "503"
    assert b"a-secret-path" not in collector.raw
