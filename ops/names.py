"""Looking names up, so that one for which no server answers holds up no other.

An event loop looks names up in a few threads that all share, uvloop (libuv) in two at once, and each of them waits
for as long as the system's resolver does, ten seconds and more, whoever has given up meanwhile. Names that others
let us look up would hold up those of our own database.
"""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Hashable
from contextlib import suppress
from typing import Any

AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]


class TooManyLookups(OSError):
    """So many names are looked up at the moment that this one has to wait."""


class TooManyLookupsForOne(TooManyLookups):
    """So many names are looked up for whom this one is that it has to wait, whatever room there is."""


class NameLookups:
    """The system's resolver in threads of its own, one for each name that is looked up, and only so many."""

    def __init__(self, *, most: int, most_for_one: int | None = None) -> None:
        """Keep how many names may be looked up at once, in all and for one of those who ask, if that is bounded.

        One that was given up counts until its thread ends.
        """
        self._most = most
        self._most_for_one = most if most_for_one is None else most_for_one
        self._running: Counter[Hashable] = Counter()

    async def look_up(
        self,
        host: str,
        port: int,
        *,
        family: int = socket.AF_UNSPEC,
        flags: int = 0,
        whom: Hashable = None,
    ) -> list[AddressInfo]:
        """Return what getaddrinfo(3) says of a host for TCP; `whom` it is for.

        Errors: TooManyLookupsForOne, TooManyLookups, OSError, UnicodeError.
        """
        if self._running[whom] >= self._most_for_one:
            raise TooManyLookupsForOne("too many names are looked up for one")
        if self._running.total() >= self._most:
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
                loop.call_soon_threadsafe(self._end, whom, found, answer)

        try:
            # A daemon: a process that ends waits for no name.
            threading.Thread(target=ask, name="name-lookup", daemon=True).start()
        except RuntimeError as error:
            raise TooManyLookups("there is no thread to spare") from error
        self._running[whom] += 1
        return await found

    def _end(
        self, whom: Hashable, found: asyncio.Future[list[AddressInfo]], answer: list[AddressInfo] | Exception
    ) -> None:
        self._running[whom] -= 1
        if not self._running[whom]:
            del self._running[whom]
        if found.done():
            return
        if isinstance(answer, Exception):
            found.set_exception(answer)
        else:
            found.set_result(answer)
