"""A small ASGI application that writes down that it was closed; for `test_worker`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


slow_has_begun = asyncio.Event()


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        print("services are closed", flush=True)  # noqa: T201 - the test reads it
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/slow":
        slow_has_begun.set()
        await asyncio.sleep(1.5)  # longer than the server takes to notice that it shall stop
    status = 200 if scope["path"] != "/slow/begun" or slow_has_begun.is_set() else 404
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


app.release = lambda: print("who waits is released", flush=True)  # type: ignore[attr-defined]  # noqa: T201
