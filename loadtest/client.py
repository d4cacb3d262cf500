"""A load client that costs little beside what it measures; a process of its own.

`python -m loadtest.client` reads a Plan as JSON from standard input, writes a line of progress now and then and a
Result as its last line. Raw HTTP/1.1 over keep-alive connections, one request at a time on each, no pipelining.
"""

import array
import asyncio
import gc
import itertools
import json
import re
import secrets
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import cast

import uvloop

KEY = "{key}"
"""Stands in a request for a key that is used once."""

_LENGTH = re.compile(rb"\r\nContent-Length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"
_NO_BODY = frozenset({204, 304})
_PROGRESS_S = 0.5
_PACE_S = 0.002
_ANSWER_TIMEOUT_S = 30.0
LOST = 0
"""The status that counts requests without an answer."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send: `requests` in rotation, over `connections`, for `warm_up_s` and then for `seconds`.

    Without a `rate` each connection sends its next request when it has the answer to the last one. With a rate,
    requests a second are due at even distances whether the server keeps up or not, and a latency counts from the
    moment at which its request was due. `limit` ends the run after that many requests.
    """

    host: str
    port: int
    requests: Sequence[str]
    connections: int = 64
    seconds: float = 10.0
    warm_up_s: float = 0.0
    rate: float | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What came back. Rate and latencies are of the time after the warm-up, `statuses` of all requests."""

    seconds: float
    answers: int
    per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    statuses: dict[int, int] = field(default_factory=dict)
    timeline: list[tuple[int, float, float]] = field(default_factory=list)
    """Of each second after the warm-up: how many answers came in it, and their p50 and p99 in ms."""

    def failures(self, expected: int) -> int:
        """Return how many requests had another answer than the expected one, or none."""
        return sum(count for status, count in self.statuses.items() if status != expected)


def read_answer(data: bytes) -> tuple[int, int] | None:
    """Return status and length in bytes of the answer that `data` begins with, or None while it is not complete.

    Errors: ValueError for what is no HTTP/1.1 answer with a Content-Length.
    """
    head = data.find(_HEAD_END)
    if head < 0:
        return None
    if not data.startswith(b"HTTP/1.1 "):
        raise ValueError("not an HTTP/1.1 answer")
    status = int(data[9:12])
    if status in _NO_BODY:
        return status, head + len(_HEAD_END)
    length = _LENGTH.search(data, 0, head + 2)
    if length is None:
        raise ValueError("an answer without Content-Length")
    end = head + len(_HEAD_END) + int(length.group(1))
    return (status, end) if len(data) >= end else None


def render_requests(templates: Sequence[str]) -> Iterator[bytes]:
    """Yield requests in rotation for ever, each with a key of its own."""
    run, numbers = secrets.token_hex(8), itertools.count()
    parts = [[part.encode() for part in template.split(KEY)] for template in templates]
    for head, *tail in itertools.cycle(parts):
        yield b"".join((head, b"%s-%d" % (run.encode(), next(numbers)), *tail)) if tail else head


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self, on_idle: Callable[["Connection"], None], on_end: Callable[[int, float], None]) -> None:
        """Keep whom to tell that the next request may come, and the status and start of one that ended."""
        self._on_idle = on_idle
        self._on_end = on_end
        self._transport: asyncio.Transport | None = None
        self._started: float | None = None
        self._received = b""

    @property
    def is_open(self) -> bool:
        """Tell whether a request can be sent."""
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready for the first request."""
        self._transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes, started: float) -> None:
        """Send a request whose latency counts from `started`."""
        assert self._transport is not None  # noqa: S101 - only open connections are handed out
        self._started = started
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Read the answer, in as many pieces as it comes."""
        if self._received:
            data = self._received + data
        try:
            answer = read_answer(data)
        except ValueError:
            self.abort()
            return
        if answer is None:
            self._received = data
            return
        status, end = answer
        if end != len(data) or self._started is None:
            self.abort()  # more than was asked for
            return
        self._received = b""
        started, self._started = self._started, None
        self._on_end(status, started)
        self._on_idle(self)

    def connection_lost(self, _: Exception | None) -> None:
        """Count the request that was under way as lost."""
        self._transport = None
        if self._started is not None:
            started, self._started = self._started, None
            self._on_end(LOST, started)

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


class Run:
    """One run of a plan."""

    def __init__(self, plan: Plan) -> None:
        """Prepare the requests; nothing is sent yet."""
        self._plan = plan
        self._requests = render_requests(plan.requests)
        self._left = plan.limit if plan.limit is not None else sys.maxsize
        self._statuses: Counter[int] = Counter()
        self._latencies = array.array("d")
        self._ended = array.array("d")
        self._under_way = 0
        self._measured_from = 0.0
        self._end = 0.0
        self._idle: deque[Connection] = deque()
        self._due: deque[float] = deque()
        self._connections: list[Connection] = []

    async def run(self, on_progress: Callable[[int], None]) -> Result:
        """Send until the time is over or the limit is reached, wait for the answers under way, and count."""
        plan = self._plan
        self._connections = [await self._connect() for _ in range(plan.connections)]
        start = time.perf_counter()
        self._measured_from, self._end = start + plan.warm_up_s, start + plan.warm_up_s + plan.seconds
        for connection in self._connections:
            self._next(connection)
        progress = asyncio.create_task(self._report(on_progress))
        await (self._pace(start, plan.rate) if plan.rate else self._keep_up())
        stopped = time.perf_counter()
        await self._drain()
        progress.cancel()
        for connection in self._connections:
            connection.abort()
        return self._result(stopped)

    async def _connect(self) -> Connection:
        loop, plan = asyncio.get_running_loop(), self._plan
        _, connection = await loop.create_connection(
            lambda: Connection(self._next, self._count), plan.host, plan.port
        )
        return connection

    def _next(self, connection: Connection) -> None:
        """Give a free connection its next request, or put it aside."""
        now = time.perf_counter()
        if self._plan.rate and self._due:
            self._send(connection, self._due.popleft())
        elif not self._plan.rate and self._left and now < self._end:
            self._left -= 1
            self._send(connection, now)
        else:
            self._idle.append(connection)

    def _send(self, connection: Connection, started: float) -> None:
        self._under_way += 1
        connection.send(next(self._requests), started)

    def _count(self, status: int, started: float) -> None:
        self._under_way -= 1
        self._statuses[status] += 1
        if started >= self._measured_from:
            now = time.perf_counter()
            self._ended.append(now - self._measured_from)
            self._latencies.append(now - started)

    async def _keep_up(self) -> None:
        """Replace lost connections until the end of a closed loop."""
        while time.perf_counter() < self._end and (self._left or self._under_way):
            await asyncio.sleep(0.01)
            await self._reconnect(self._next)

    async def _pace(self, start: float, rate: float) -> None:
        """Make requests due at even distances until the end of an open loop."""
        made = 0
        while (now := time.perf_counter()) < self._end and self._left:
            wanted = int((now - start) * rate) - made
            for number in range(made, made + min(wanted, self._left)):
                self._due.append(start + number / rate)
            self._left -= min(wanted, self._left)
            made += max(wanted, 0)
            while self._due and self._idle:
                connection = self._idle.popleft()
                if connection.is_open:
                    self._send(connection, self._due.popleft())
            await asyncio.sleep(_PACE_S)
            await self._reconnect(self._idle.append)

    async def _reconnect(self, use: Callable[[Connection], None]) -> None:
        for index, connection in enumerate(self._connections):
            if not connection.is_open:
                try:
                    self._connections[index] = await self._connect()
                except OSError:
                    await asyncio.sleep(0.05)
                    return
                use(self._connections[index])

    async def _drain(self) -> None:
        """Wait for what is under way or still due, so that every accepted request is known."""
        deadline = time.perf_counter() + _ANSWER_TIMEOUT_S
        while (self._under_way or self._due) and time.perf_counter() < deadline:  # noqa: ASYNC110 - bounded
            await asyncio.sleep(_PACE_S)
        self._statuses[LOST] += self._under_way + len(self._due)

    async def _report(self, on_progress: Callable[[int], None]) -> None:
        while True:
            await asyncio.sleep(_PROGRESS_S)
            on_progress(self._statuses.total())

    def _result(self, stopped: float) -> Result:
        latencies = sorted(self._latencies)
        # What is answered after the end of an open loop was due before it: the rate is not that of the requests.
        seconds = max(stopped - self._measured_from, max(self._ended, default=0.0), 1e-9)
        return Result(
            seconds=seconds,
            answers=len(latencies),
            per_second=len(latencies) / seconds,
            p50_ms=quantile(latencies, 0.5) * 1000,
            p99_ms=quantile(latencies, 0.99) * 1000,
            max_ms=quantile(latencies, 1.0) * 1000,
            statuses={status: count for status, count in self._statuses.items() if count},
            timeline=self._timeline(seconds),
        )

    def _timeline(self, seconds: float) -> list[tuple[int, float, float]]:
        """Sort what ended into whole seconds; what came after the last one is left out."""
        of_second: list[list[float]] = [[] for _ in range(int(seconds))]
        for ended, latency in zip(self._ended, self._latencies, strict=True):
            if ended < len(of_second):
                of_second[int(ended)].append(latency)
        return [
            (len(each), 1000 * quantile(each, 0.5), 1000 * quantile(each, 0.99)) for each in map(sorted, of_second)
        ]


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return a quantile of sorted values (nearest rank); 0 without values."""
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


def main() -> None:
    """Run the plan on standard input."""
    plan = Plan(**json.load(sys.stdin))
    gc.freeze()
    result = uvloop.run(Run(plan).run(lambda done: print(json.dumps({"done": done}), flush=True)))
    print(json.dumps(asdict(result)), flush=True)


if __name__ == "__main__":
    main()
