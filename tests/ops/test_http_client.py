"""The small HTTP client against a server that says exactly what it is told."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Sequence

import pytest

from ops.http_client import HttpClient, HttpClientError
from tests.dead_names import dead_names
from tests.eventually import eventually

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nRequest-Id: req_1\r\n\r\nok"
HANG_UP = b""


class Server:
    """Answers each request with the next of its answers, in the pieces given; after HANG_UP it is gone."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: list[Sequence[bytes]] = []
        self.requests: list[bytes] = []
        self.connections = 0
        self.serving: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self.serve(reader, writer))
        self.serving.add(task)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while request := await self._read(reader):
                self.requests.append(request)
                for part in self.answers.pop(0):
                    if part == HANG_UP:
                        return
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0)
        finally:
            writer.close()
            await writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        return head + await reader.readexactly(int(length or 0))


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server whose answers each test lines up."""
    server = Server()
    listener = await asyncio.start_server(server.accept, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    yield server
    listener.close()
    for task in server.serving:
        task.cancel()
    await asyncio.gather(*server.serving, return_exceptions=True)


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    client = HttpClient(timeout_s=60)
    yield client
    await client.close()


async def test_a_request_goes_out_with_its_headers_and_its_body(server: Server, http: HttpClient) -> None:
    server.answers = [[OK]]
    answer = await http.request("POST", f"{server.url}/v1/x?a=b", {"Idempotency-Key": "k"}, b"amount=1")
    assert (answer.status, answer.body, answer.headers["request-ID"]) == (200, b"ok", "req_1")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    host = server.url.removeprefix("http://").encode()
    assert head.split(b"\r\n") == [
        b"POST /v1/x?a=b HTTP/1.1",
        b"Host: " + host,
        b"Idempotency-Key: k",
        b"Content-Length: 8",
    ]
    assert body == b"amount=1"


async def test_an_idle_connection_is_used_again(server: Server, http: HttpClient) -> None:
    server.answers = [[OK], [OK]]
    for _ in range(2):
        await http.request("GET", server.url, {})
    assert server.connections == 1


async def test_requests_at_once_do_not_share_a_connection(server: Server, http: HttpClient) -> None:
    server.answers = [[OK], [OK], [OK]]
    await asyncio.gather(*(http.request("GET", server.url, {}) for _ in range(3)))
    assert server.connections == 3


@pytest.mark.parametrize(
    "parts",
    [
        [OK[:20], OK[20:45], OK[45:]],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n", b"1\r\nk\r\n0\r\n\r\n"],
        [b"HTTP/1.1 100 Continue\r\n\r\n", OK],
        [b"HTTP/1.1 200 OK\r\n\r\no", b"k", HANG_UP],
        [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", HANG_UP],
    ],
    ids=["in pieces", "chunked", "after an interim answer", "to the end of the connection", "and then closed"],
)
async def test_an_answer_is_read_however_it_is_framed(
    server: Server, http: HttpClient, parts: Sequence[bytes]
) -> None:
    server.answers = [parts, [OK]]
    answer = await http.request("GET", server.url, {})
    assert (answer.status, answer.body) == (200, b"ok")
    assert (await http.request("GET", server.url, {})).body == b"ok"


async def test_an_answer_without_a_body_ends_with_its_head(server: Server, http: HttpClient) -> None:
    server.answers = [[b"HTTP/1.1 204 No Content\r\n\r\n"]]
    assert (await http.request("POST", server.url, {}, b"")).status == 204


@pytest.mark.parametrize(
    "parts",
    [[HANG_UP], [OK[:30], HANG_UP], [OK[:-1], HANG_UP], [b"SSH-2.0-OpenSSH\r\n"]],
    ids=["nothing", "half a head", "half a body", "no HTTP"],
)
async def test_half_an_answer_is_none_and_its_connection_is_not_used_again(
    server: Server, http: HttpClient, parts: Sequence[bytes]
) -> None:
    server.answers = [parts, [OK]]
    with pytest.raises(HttpClientError):
        await http.request("GET", server.url, {})
    assert (await http.request("GET", server.url, {})).body == b"ok"


async def test_what_stands_behind_an_answer_is_no_part_of_it(server: Server, http: HttpClient) -> None:
    late = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nlate"
    server.answers = [[OK + late], [OK]]
    for _ in range(2):
        answer = await http.request("GET", server.url, {})
        assert (answer.status, answer.body, answer.headers["request-id"]) == (200, b"ok", "req_1")
    assert server.connections == 2


async def test_connection_is_freed_with_what_came_on_it(server: Server, http: HttpClient) -> None:
    server.answers = [[OK], [OK.replace(b"200 OK", b"200 OK\r\nConnection: close"), HANG_UP]]
    await http.request("GET", server.url, {})
    ((kept,),) = http._idle.values()
    assert not hasattr(kept, "_answer")
    freed = weakref.ref(kept)
    gc.disable()
    try:
        del kept
        await http.request("GET", server.url, {})
        await eventually(lambda: freed() is None, deadline_s=30)
    finally:
        gc.enable()


async def test_names_that_nobody_answers_for_hold_up_no_others(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    http = HttpClient(timeout_s=0.05)
    with dead_names(monkeypatch):
        asked = (http.request("GET", f"http://dead-{number}.example/", {}) for number in range(99))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(answer) for answer in answers} == {TimeoutError}

        async with asyncio.timeout(30):
            assert await asyncio.get_running_loop().getaddrinfo("localhost", 443)


async def test_a_host_is_reached_by_its_name(server: Server, http: HttpClient) -> None:
    server.answers = [[OK]]
    url = server.url.replace("127.0.0.1", "localhost")
    assert (await http.request("GET", url, {})).body == b"ok"


async def test_connections_that_nobody_needs_after_a_busy_time_are_closed(
    server: Server, http: HttpClient
) -> None:
    server.answers = [[OK]] * 4
    await asyncio.gather(*(http.request("GET", server.url, {}) for _ in range(3)))
    (idle,) = http._idle.values()
    *left_behind, last = idle
    for connection in left_behind:
        connection.idle_since -= 60
    await http.request("GET", server.url, {})
    assert list(idle) == [last]
    assert [connection.is_open for connection in left_behind] == [False, False]


async def test_a_connection_that_the_server_closed_meanwhile_is_replaced(server: Server, http: HttpClient) -> None:
    server.answers = [[OK, HANG_UP], [OK]]
    await http.request("GET", server.url, {})
    while server.connections and any(c.is_open for each in http._idle.values() for c in each):
        await asyncio.sleep(0)
    assert (await http.request("GET", server.url, {})).body == b"ok"
    assert server.connections == 2


async def test_an_answer_that_does_not_come_is_given_up_in_time(server: Server) -> None:
    http = HttpClient(timeout_s=0.05)
    server.answers = [[]]
    with pytest.raises(TimeoutError):
        await http.request("GET", server.url, {})
    assert not any(http._idle.values())


async def test_nobody_listens(http: HttpClient) -> None:
    with pytest.raises(HttpClientError):
        await http.request("GET", "http://127.0.0.1:9", {})


@pytest.mark.parametrize("header", ["a\r\nX-Evil: 1", "a\nb"])
async def test_a_header_cannot_hold_another(server: Server, http: HttpClient, header: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        await http.request("GET", server.url, {"Idempotency-Key": header})
    assert server.requests == []


@pytest.mark.parametrize("url", ["ftp://example.com/", "example.com", "http://"])
async def test_what_is_no_http_url_is_refused(http: HttpClient, url: str) -> None:
    with pytest.raises(ValueError, match="no HTTP URL"):
        await http.request("GET", url, {})
