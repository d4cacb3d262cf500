"""gunicorn's `asgi` worker, with an orderly end: connections that ask nothing do not hold it up.

And with patience that ends: who is slow to ask, who asks nothing and who reads nothing is let go, so that nobody
can hold a worker's files and memory for long.
"""

import asyncio
import json
import os
import resource
import select
import time
from http import HTTPStatus
from itertools import islice
from typing import Any

from gunicorn.asgi import protocol
from gunicorn.workers import gasgi

from api.http_parser import Parser
from api.response_head import Headers, render_headers, scan_response_headers

# Longer than httpx (5 s) or undici (4 s) keep an idle connection: sooner, one would be closed just as its client
# takes it up again.
_LINGER_S = 6.0
_STALLED_S = 30.0
_REQUEST_S = 30.0
"""How long a request may take to come, from its first byte to its last; a new connection's from its beginning."""
_SPARE_FILES = 200
"""What a worker opens beside its clients: pools, logs, and those who connect while room is made."""
_ROOM = 64
"""How many connections make room at once. PERF: looking for them costs something."""
_MOST_PIECES = 2_048
"""How many pieces of a body may wait. PERF: one read brings up to 43,000 chunks of a byte, and others wait."""
_FEW = 512
"""Up to how many connections new ones are shared out. Beyond, many who come at once would hold up the others."""
_MOMENT_S = 1e-9
"""The kernel makes some 50 us of it."""
_PHRASES = {HTTPStatus.REQUEST_URI_TOO_LONG: "URI Too Long"}
"""What RFC 9110 calls other than Python before 3.13: a code must not depend on that."""
_ANNOUNCE_S = 0.5
"""Longer than any answer is on its way that promised to keep its connection before the end was announced."""


class Connection(protocol.ASGIProtocol):
    """A connection that its worker knows of."""

    _callback_parser: Parser | None

    def __init__(self, *args: object) -> None:
        """Begin with a client that reads; before the next one is accepted, let another worker have it.

        PERF: the loop accepts all who wait, so the worker that woke first got up to 63 of 64 clients, and for as
        long as they stayed. libuv itself used to pause here (UV_TCP_SINGLE_ACCEPT).
        """
        super().__init__(*args)
        if self.worker.cfg.workers > 1 and len(self.worker.connections) < _FEW:
            time.sleep(_MOMENT_S)
        self._stalled: asyncio.TimerHandle | None = None
        self._late: asyncio.TimerHandle | None = None
        self._has_begun = False
        self._answers_early = False
        self._keepalive_handle: asyncio.TimerHandle | None = None
        self._idle_since: float | None = None

    def pause_writing(self) -> None:
        """Give a client whose buffer is full some time to read; the answer to it waits meanwhile."""
        super().pause_writing()
        self._stalled = self.worker.loop.call_later(_STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Be glad that it reads."""
        super().resume_writing()
        if not self._closed:
            self._end_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        super().connection_lost(exc)
        self.worker.connections.pop(self, None)
        self._end_timer()
        self._end_patience()
        # PERF: its parser calls it back, so each would hold the other until a search for cycles, which is rare.
        self._callback_parser = None

    def _arm_keepalive_timer(self) -> None:
        """Begin to count for how long nothing is asked.

        PERF: gunicorn makes a timer after each answer, and ends it with the next request; here one looks now and
        then how long ago the last answer was.
        """
        self._idle_since = self.worker.loop.time()
        if self._keepalive_handle is None and self._keepalive > 0:
            self._keepalive_handle = self.worker.loop.call_later(self._keepalive, self._close_if_idle_for_long)

    def _cancel_keepalive_timer(self) -> None:
        """Count no more: something is asked, or the connection is gone."""
        self._idle_since = None
        if self._closed:
            super()._cancel_keepalive_timer()

    def _close_if_idle_for_long(self) -> None:
        self._keepalive_handle = None
        if self._idle_since is None:
            return  # A request is under way; its answer begins to count anew.
        left_s = self._idle_since + self._keepalive - self.worker.loop.time()
        if left_s > 0:
            self._keepalive_handle = self.worker.loop.call_later(left_s, self._close_if_idle_for_long)
        else:
            self._keepalive_timeout()

    async def _serve_http_request(self, request: object, sockname: object, peername: object) -> bool:
        """Answer a request, and tell whether another one may follow.

        PERF: gunicorn runs the application in a task of its own, for frameworks that go on after they have
        answered. Falcon does not. But without one, thousands of requests that come in one piece and wait for
        nothing would be answered before the loop turned again, so others have a turn between two of them.
        """
        keepalive = bool(await self._handle_http_request(request, sockname, peername))
        if keepalive and self._callback_parser is not None and self._callback_parser.is_followed:
            await asyncio.sleep(0)
        return keepalive

    def _on_headers_complete(self) -> object:
        """Take a request. Errors: ParseError for one that names no host (RFC 9112, section 3.2)."""
        if self._callback_parser is not None and self._callback_parser.lacks_host:
            raise protocol.ParseError("no host")
        return super()._on_headers_complete()

    def _on_body(self, chunk: bytes) -> None:
        """Take a piece of a body. Errors: ParseError when too many wait."""
        super()._on_body(chunk)
        if len(self._body_receiver._chunks) > _MOST_PIECES:  # noqa: SLF001 - gunicorn counts their bytes alone
            raise protocol.ParseError("a body in too many pieces")

    def _is_websocket_upgrade(self, request: object) -> bool:
        """Follow nobody to WebSocket, which nothing here speaks (RFC 9110, section 7.8)."""
        return False

    def _send_response_start(self, status: int, headers: Headers, request: Any, close: bool = False) -> None:  # noqa: FBT001, FBT002 - gunicorn's signature
        """Write the head of an answer, which goes out with the first piece of its body."""
        lines = render_headers(headers)
        if lines is None or close:
            super()._send_response_start(status, headers, request, close)
            return
        first = protocol._get_cached_status_line(request.version, status)  # noqa: SLF001 - as gunicorn does
        date = protocol._get_cached_date_header()  # noqa: SLF001 - the same
        self._response_buffer = b"".join((first, lines, protocol._CACHED_SERVER_HEADER, date, b"\r\n"))  # noqa: SLF001 - the same

    def _end_timer(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register with the worker, and wait for the first request, but not for ever."""
        super().connection_made(transport)
        self._late = self.worker.loop.call_later(_REQUEST_S, self._give_up)
        self.worker.admit(self)

    def data_received(self, data: bytes) -> None:
        """Read on; a request that has not come whole has some time left for the rest.

        NOTE: gunicorn 27 waits for a first request's head without end, and begins to count anew with each piece of
        a body, so that a client who sends a byte a minute (slow loris) is served for days.

        An empty line is no beginning (RFC 9112, section 2.2): some clients send one behind a body.
        """
        super().data_received(data)
        receiver = self._body_receiver
        if receiver is not None and receiver._complete:  # noqa: SLF001 - gunicorn tells it in no other way
            self._end_patience()
            return
        if self._callback_parser is None or not self._callback_parser.has_begun:
            return
        self._has_begun = True
        if self._late is None:
            self._late = self.worker.loop.call_later(_REQUEST_S, self._give_up)

    def _end_patience(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        """Close the connection of a request that does not come; one that has begun is told so."""
        self._late = None
        if self._has_begun:
            self._send_error_response(HTTPStatus.REQUEST_TIMEOUT, "")
        self._keepalive_timeout()

    def _send_error_response(
        self, status: int, message: str, extra_headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """Refuse what is no HTTP, or too much of it, with a problem document like all else that is refused.

        gunicorn's message may quote the request, so it is not told. Nor is anything in the middle of an answer,
        where it would be read as a part of that: the connection is closed, and the answer has no end.
        """
        if self._answers_early:
            return
        known = HTTPStatus(status)
        phrase = _PHRASES.get(known, known.phrase)
        code = phrase.lower().replace(" ", "_")
        problem = {"type": "about:blank", "title": phrase, "status": status, "code": code}
        body = json.dumps({**problem, "detail": known.description or phrase}).encode()
        more = "".join(f"{name}: {value}\r\n" for name, value in extra_headers)
        head = (
            f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/problem+json\r\n"
            f"Content-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n"
        )
        self._safe_write(head.encode() + body)

    def _will_close(self, request: Any, response_requires_close: bool) -> bool:  # noqa: FBT001 - gunicorn's signature
        """Tell the client to open another connection next time, as soon as the worker is to stop.

        So does an answer that begins before its request is there, because gunicorn reads none behind that. And one
        to HTTP/1.0, whose clients keep no connection that the answer does not promise to keep, as ours never does;
        without a length they know its end by the connection's alone (RFC 9112, sections 6.3 and 9.3).
        """
        if not self._body_receiver._complete:  # noqa: SLF001 - gunicorn tells it in no other way
            self._answers_early = True
            return True
        if self.worker.is_leaving or request.version < (1, 1):
            return True
        return bool(super()._will_close(request, response_requires_close))

    def close_if_idle(self) -> None:
        """Close a connection whose last request is answered, as when its keep-alive time is over.

        A new one is spared: its first request is on the way, and its client would not expect to send it again. So
        is one with something to read: a request may have come while the loop was busy with others, and timers go
        before reading.
        """
        if self.req_count > 1 and self.is_silent():
            self._keepalive_timeout()

    def is_silent(self) -> bool:
        """Tell whether nothing is asked on this connection, and nothing is on its way as far as one can see."""
        return self._awaiting_request and not self._has_arrived()

    def keeps_waiting(self) -> bool:
        """Tell whether it is the client's turn, as far as one can see: to ask, to send the rest, or to read."""
        if self._stalled is not None:
            return True
        receiver = self._body_receiver
        is_cut = receiver is not None and not receiver._complete  # noqa: SLF001 - gunicorn tells it in no other way
        return (self._awaiting_request or is_cut) and not self._has_arrived()

    def close_silently(self) -> None:
        """Close a connection whose client keeps one waiting, to make room for others."""
        self._keepalive_timeout()
        if self._stalled is not None:
            self.transport.abort()

    def _close_transport(self) -> None:
        """Close, but do not wait for ever until the client has read what it asked for.

        NOTE: a transport is gone only when all is sent, and says nothing of up to 64 KiB that are not.
        """
        was_closed = self._closed
        super()._close_transport()
        if not was_closed and self._stalled is None and self.transport.get_write_buffer_size():
            self._stalled = self.worker.loop.call_later(_STALLED_S, self.transport.abort)

    def _has_arrived(self) -> bool:
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))


# NOTE: gunicorn 27 waits for idle keep-alive connections until the master kills the worker, so the services
# would never be closed under a load balancer. It has no setting for the protocol, only this name, and none for the
# parser.
gasgi.ASGIProtocol = Connection
protocol.PythonProtocol = Parser
protocol._scan_response_headers = scan_response_headers  # noqa: SLF001 - it has no other name
# PERF: 1.7 MiB, the heads of all chunks of up to 16 KiB; gunicorn makes those that it does not find.
protocol._CHUNK_PREFIXES = {}  # noqa: SLF001 - the same


class Worker(gasgi.ASGIWorker):
    """The `asgi` worker that says goodbye to idle clients when it is asked to stop."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Begin without connections."""
        super().__init__(*args, **kwargs)
        self.is_leaving = False
        self._is_listening = False
        # In the order in which they came: a set would have none.
        self.connections: dict[Connection, None] = {}
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.most_connections = max(files - _SPARE_FILES, files // 2)

    def notify(self) -> None:
        """Tell the master that this worker lives; once it serves, let as many wait to connect as the settings say.

        NOTE: gunicorn 27 leaves asyncio's own backlog of 100, beyond which a client that connects is not heard for
        a second or more.
        """
        super().notify()
        if self.ppid != os.getppid() and not self.is_leaving:
            # The master is gone, and gunicorn stops in a moment, but would say goodbye to nobody.
            self.handle_exit_signal()
        if self.servers and not self._is_listening:
            self._is_listening = True
            for listener in self.sockets:
                listener.sock.listen(self.cfg.backlog)

    def admit(self, connection: Connection) -> None:
        """Take a connection in; before files run out, the oldest that keep one waiting make room for it.

        Without a file to spare asyncio accepts nobody, and the database is out of reach: one client that only
        connects would be enough to stop the service, or one that begins requests and never ends them.
        """
        self.connections[connection] = None
        if len(self.connections) <= self.most_connections:
            return
        others = (other for other in self.connections if other is not connection and other.keeps_waiting())
        waiting = tuple(islice(others, _ROOM))
        for other in waiting or (connection,):
            self.connections.pop(other, None)
            other.close_silently()

    def handle_exit_signal(self) -> None:
        """Stop: requests under way are answered, and a little later idle connections are closed.

        The application lets go whoever waits for something to happen: that could take longer than there is time.

        Every answer from now on says `Connection: close`. A client that is about to ask again on its open
        connection still gets one; only who has been silent for a while finds the connection gone.

        NOTE: gunicorn 27 closes a connection whose answer has just promised to keep it, when `alive` falls in
        between. So that comes a moment later, when all such promises are kept or taken back.
        """
        self.is_leaving = True
        self.asgi.release()
        self.loop.call_later(_ANNOUNCE_S, self._stop)

    def _stop(self) -> None:
        super().handle_exit_signal()
        self.loop.call_later(_LINGER_S, self._close_idle)

    def _close_idle(self) -> None:
        for connection in tuple(self.connections):
            connection.close_if_idle()
