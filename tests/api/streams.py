"""A client of streams over ASGI, in this process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.eventually import eventually


@dataclass
class Stream:
    """An answer as it comes; a slow client takes nothing until it is `reading`."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_over: bool = False
    reading: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def events(self) -> list[dict[str, str]]:
        """The whole events so far; comments and places without data are none."""
        blocks = self.body.decode().split("\n\n")[:-1]
        parsed = [dict(line.split(": ", 1) for line in block.split("\n") if line[0] != ":") for block in blocks]
        return [event for event in parsed if "data" in event]

    @property
    def places(self) -> list[int]:
        """The ids so far, of events and of signs of life."""
        return [int(line[4:]) for line in self.body.decode().split("\n") if line.startswith("id: ")]

    async def received(self, count: int) -> list[dict[str, str]]:
        """Wait for that many events."""
        await eventually(lambda: len(self.events) >= count)
        return self.events

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        await self.reading.wait()
        self.body += message.get("body", b"")
        self.is_over = not message.get("more_body", False)


@asynccontextmanager
async def open_stream(
    client: httpx.AsyncClient, token: dict[str, str], *, last: int | str | None = None, reading: bool = True
) -> AsyncIterator[Stream]:
    """Follow events until the end of the block, and then go away as a browser does."""
    transport: Any = client._transport
    headers = {**token, **({"Last-Event-ID": str(last)} if last is not None else {})}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/v1/events",
        "raw_path": b"/v1/events",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("api.test", 80),
    }
    asked, gone, stream = asyncio.Event(), asyncio.Event(), Stream()

    async def receive() -> dict[str, Any]:
        if not asked.is_set():
            asked.set()
            return {"type": "http.request", "body": b"", "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    if reading:
        stream.reading.set()
    serving = asyncio.create_task(transport.app(scope, receive, stream.send))
    try:
        if reading:
            await eventually(lambda: stream.body or serving.done())
        else:
            await eventually(lambda: stream.status)
        yield stream
    finally:
        gone.set()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
