"""HTTP/1.1 for the sandbox: one process, one loop, and little spent beside the calls themselves.

PERF: what the sandbox takes is taken from what is measured beside it on the same cores, and gunicorn, whose parser
is Python without a C compiler, took a third of each call.
"""

import asyncio
import signal
import socket
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple, cast
from urllib.parse import unquote

import uvloop

Message = dict[str, Any]
App = Any
"""An ASGI application (asgi.readthedocs.io/en/latest/specs/main.html)."""

_LONGEST_HEAD = 65_536
_LONGEST_BODY = 2_097_152
_BACKLOG = 2_048
_GRACE_S = 1.0
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_ASGI = {"version": "3.0", "spec_version": "2.3"}
_STATUS_LINES = {each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n".encode() for each in HTTPStatus}


class Request(NamedTuple):
    """One request, read whole."""

    scope: Message
    body: bytes
    keeps_alive: bool


class BadRequestError(ValueError):
    """What came is not HTTP that the sandbox speaks; the status says why."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class Connection(asyncio.Protocol):
    """One keep-alive connection: requests one after the other, each answered by the application."""

    def __init__(self, app: App, open_connections: set["Connection"]) -> None:
        self._app = app
        self._open = open_connections
        self._received = bytearray()
        self._continued = False
        self._answering: asyncio.Task[None] | None = None
        self._body: bytes | None = None
        self._head = b""
        self._is_chunked = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready for requests."""
        self._transport = cast("asyncio.Transport", transport)
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; a call that is under way goes on."""
        self._open.discard(self)
        self._gone.set()
        self._writable.set()

    def pause_writing(self) -> None:
        """Let a long answer wait for its reader."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let it go on."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Take what came, and answer once a request is whole."""
        self._received += data
        if self._answering is None:
            self._answer_next()

    async def finish(self) -> None:
        """Close once the request that is under way is answered."""
        if self._answering is not None:
            await asyncio.wait([self._answering])
        self._transport.close()

    def _answer_next(self) -> None:
        try:
            request = self._take()
        except BadRequestError as error:
            self._transport.write(_plain_answer(error.status))
            self._transport.close()
            return
        if request is not None:
            self._answering = asyncio.get_running_loop().create_task(self._answer(request))

    def _take(self) -> Request | None:
        """Take the next request out of what came, or None while it is not whole."""
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            if len(self._received) > _LONGEST_HEAD:
                raise BadRequestError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return None
        lines = bytes(self._received[:head_end]).split(b"\r\n")
        headers = _read_headers(lines[1:])
        named = dict(headers)
        length = _length(named)
        end = head_end + 4 + length
        if len(self._received) < end:
            if named.get(b"expect", b"").lower() == b"100-continue" and not self._continued:
                self._continued = True
                self._transport.write(_CONTINUE)
            return None
        body = bytes(self._received[head_end + 4 : end])
        del self._received[:end]
        self._continued = False
        scope, keeps_alive = _read_request_line(lines[0], headers)
        return Request(scope, body, keeps_alive and named.get(b"connection", b"").lower() != b"close")

    async def _answer(self, request: Request) -> None:
        self._body = request.body
        try:
            await self._app(request.scope, self._receive, self._send)
        except BaseException:
            # Most often `ConnectionCutError`: close without a word.
            self._transport.abort()
            raise
        finally:
            self._answering = None
        if not request.keeps_alive:
            self._transport.close()
        elif self._received and not self._gone.is_set():
            self._answer_next()

    async def _receive(self) -> Message:
        if self._body is None:
            await self._gone.wait()
            return {"type": "http.disconnect"}
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message["headers"])
            self._is_chunked = not any(name == b"content-length" for name, _ in headers)
            if self._is_chunked and message["status"] != HTTPStatus.NO_CONTENT:
                headers.append((b"transfer-encoding", b"chunked"))
            lines = b"".join(b"%s: %s\r\n" % header for header in headers)
            self._head = b"%s%s\r\n" % (_STATUS_LINES[message["status"]], lines)
            self._is_chunked = self._is_chunked and message["status"] != HTTPStatus.NO_CONTENT
            return
        part, has_more = message.get("body", b""), message.get("more_body", False)
        if self._is_chunked:
            part = (b"%x\r\n%s\r\n" % (len(part), part) if part else b"") + (b"" if has_more else b"0\r\n\r\n")
        self._transport.write(self._head + part)
        self._head = b""
        if not self._writable.is_set():
            await self._writable.wait()


def _read_headers(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    headers = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise BadRequestError(HTTPStatus.BAD_REQUEST)
        headers.append((name.lower(), value.strip()))
    return headers


def _length(named: Mapping[bytes, bytes]) -> int:
    if b"transfer-encoding" in named:
        raise BadRequestError(HTTPStatus.LENGTH_REQUIRED)
    given = named.get(b"content-length", b"0")
    if not given.isdigit():
        raise BadRequestError(HTTPStatus.BAD_REQUEST)
    if int(given) > _LONGEST_BODY:
        raise BadRequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return int(given)


def _read_request_line(line: bytes, headers: list[tuple[bytes, bytes]]) -> tuple[Message, bool]:
    try:
        method, target, version = line.decode("ascii").split(" ")
    except ValueError:
        raise BadRequestError(HTTPStatus.BAD_REQUEST) from None
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": _ASGI,
        "http_version": version.removeprefix("HTTP/"),
        "method": method,
        "path": unquote(path) if "%" in path else path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "scheme": "http",
        "headers": headers,
    }
    return scope, version == "HTTP/1.1"


def _plain_answer(status: HTTPStatus) -> bytes:
    return _STATUS_LINES[status] + b"Connection: close\r\nContent-Length: 0\r\n\r\n"


class Lifespan:
    """The application's own start and end, as ASGI tells of them."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._asked: asyncio.Queue[Message] = asyncio.Queue()
        self._answered: asyncio.Queue[Message] = asyncio.Queue()
        self._running: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Start the application; raises RuntimeError when it cannot."""
        scope = {"type": "lifespan", "asgi": _ASGI}
        self._running = asyncio.ensure_future(self._app(scope, self._asked.get, self._answered.put))
        await self._say("startup")

    async def stop(self) -> None:
        """Stop it."""
        await self._say("shutdown")

    async def _say(self, what: str) -> None:
        self._asked.put_nowait({"type": f"lifespan.{what}"})
        answer = await self._answered.get()
        if answer["type"] != f"lifespan.{what}.complete":
            raise RuntimeError(f"{what} failed: {answer.get('message', '')}")


async def serve(app: App, host: str, port: int) -> None:
    """Serve the application until SIGTERM or SIGINT; raises OSError for an address that is taken."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for ending in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(ending, stopped.set)
    connections: set[Connection] = set()
    lifespan = Lifespan(app)
    await lifespan.start()
    server = await loop.create_server(
        lambda: Connection(app, connections), host, port, backlog=_BACKLOG, family=socket.AF_INET
    )
    await stopped.wait()
    server.close()
    if connections:
        await asyncio.wait([asyncio.create_task(each.finish()) for each in connections], timeout=_GRACE_S)
    await lifespan.stop()


def run(app: App, host: str, port: int) -> None:
    """Serve until the process is asked to end."""
    uvloop.run(serve(app, host, port))
