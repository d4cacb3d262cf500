"""A small ASGI application that writes down what becomes of it and its clients; for `test_worker`."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import api.worker

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

api.worker._STALLED_S = 0.5
# What is freed only by a search for cycles is to be seen.
gc.disable()
slow_has_begun, released = asyncio.Event(), asyncio.Event()


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the test reads it


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        say("services are closed")
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["path"] == "/stream":
        await stream(send)
    elif scope["path"] == "/flood":
        await flood(receive, send)
    else:
        await answer(scope["path"], send)


async def answer(path: str, send: Send) -> None:
    if path == "/slow":
        slow_has_begun.set()
        await released.wait()
        await asyncio.sleep(0.5)  # it goes on where the server only waits for it
    status = 200 if path != "/slow/begun" or slow_has_begun.is_set() else 404
    body = b"%d" % connections() if path == "/connections" else b"ok"
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


def connections() -> int:
    """Count the connections in memory, whether or not a client is at their other end."""
    return sum(isinstance(each, api.worker.Connection) for each in gc.get_objects())


async def stream(send: Send) -> None:
    """Follow until everybody is let go."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begun ", "more_body": True})
    await released.wait()
    await send({"type": "http.response.body", "body": b"and ended"})


async def flood(receive: Receive, send: Send) -> None:
    """Send without end to a client that may not read."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    gone = asyncio.create_task(until_gone(receive))
    flooding = asyncio.create_task(send_for_ever(send))
    await gone
    say("the slow client is cut")
    flooding.cancel()


async def until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def send_for_ever(send: Send) -> None:
    while True:
        await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})


def release() -> None:
    say("who waits is released")
    released.set()


app.release = release  # type: ignore[attr-defined]
