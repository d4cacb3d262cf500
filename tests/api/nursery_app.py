"""A small ASGI application whose loading can be made to fail; for `test_nursery`."""

import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

Message = dict[str, Any]


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    pid = str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(pid))]})
    await send({"type": "http.response.body", "body": pid})


app.release = lambda: None  # type: ignore[attr-defined]


def load() -> object:
    """Return the application, after what NURSERY_FAULT names."""
    FAULTS[os.environ["NURSERY_FAULT"]](Path(os.environ["NURSERY_NOTES"]))
    return app


def note(notes: Path, word: str) -> bool:
    """Write a line, and tell whether it is the first one."""
    with notes.open("a") as file:
        file.write(f"{word}\n")
    return len(notes.read_text().splitlines()) == 1


def fail(notes: Path) -> None:
    raise ValueError("a setting is missing")


def exit_(notes: Path) -> None:
    raise SystemExit("a setting is missing")


def be_slow(notes: Path) -> None:
    if note(notes, str(os.getpid())):
        time.sleep(3600)


def die_as_a_parent(notes: Path) -> None:
    """The first time, be killed when a worker was made of which the master has not heard."""
    if note(notes, str(os.getpid())):
        os.register_at_fork(
            after_in_parent=lambda: os.kill(os.getpid(), signal.SIGKILL),
            after_in_child=lambda: note(notes, str(os.getpid())),
        )


FAULTS: Mapping[str, Callable[[Path], object]] = {
    "none": lambda notes: note(notes, str(os.getpid())),
    "fails": fail,
    "exits": exit_,
    "is slow": be_slow,
    "is killed": die_as_a_parent,
}
