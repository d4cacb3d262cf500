"""Looking names up, so that one for which no server answers holds up no other.

An event loop looks names up in a few threads that all share, uvloop (libuv) in two at once, and each of them waits
for as long as the system's resolver does, ten seconds and more, whoever has given up meanwhile. Names that others
let us look up would hold up those of our own database.
"""

import asyncio
import socket
import threading
from contextlib import suppress
from typing import Any

AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]


class TooManyLookups(OSError):
    """So many names are looked up at the moment that this one has to wait."""


class NameLookups:
    """The system's resolver in threads of its own, one for each name that is looked up, and only so many."""

    def __init__(self, *, most: int) -> None:
        """Keep how many names may be looked up at once; one that was given up counts until its thread ends."""
        self._most = most
        self._running = 0

    async def look_up(
        self, host: str, port: int, *, family: int = socket.AF_UNSPEC, flags: int = 0
    ) -> list[AddressInfo]:
        """Return what getaddrinfo(3) says of a host for TCP. Errors: TooManyLookups, OSError, UnicodeError."""
        if self._running >= self._most:
            raise TooManyLookups("too many names are looked up")
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[AddressInfo]] = loop.create_future()

        def ask() -> None:
            answer: list[AddressInfo] | Exception
            try:
                answer = list(socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=flags))
            except Exception as error:  # noqa: BLE001 - whatever it is, who asked is told
                answer = error
            with suppress(RuntimeError):  # the loop is closed by now
                loop.call_soon_threadsafe(self._end, found, answer)

        try:
            # A daemon: a process that ends waits for no name.
            threading.Thread(target=ask, name="name-lookup", daemon=True).start()
        except RuntimeError as error:
            raise TooManyLookups("there is no thread to spare") from error
        self._running += 1
        return await found

    def _end(self, found: asyncio.Future[list[AddressInfo]], answer: list[AddressInfo] | Exception) -> None:
        self._running -= 1
        if found.done():
            return
        if isinstance(answer, Exception):
            found.set_exception(answer)
        else:
            found.set_result(answer)
