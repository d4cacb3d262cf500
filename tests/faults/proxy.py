"""A TCP proxy of the tests' own between two parts: it cuts, resets, delays, slices and swallows what they say."""

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

import psutil

from ops.stack.ports import HOST

_CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)
"""Lingering for zero seconds: closing sends a reset."""


class Link:
    """One connection through the proxy; a dead one stays open and says nothing any more, in either direction."""

    def __init__(self, *ends: asyncio.StreamWriter) -> None:
        self.ends = ends
        self.swallows = False
        self.dead = False

    @property
    def port(self) -> int:
        """The port of whoever made the connection."""
        peer = self.ends[0].get_extra_info("peername")  # None where it was gone before it was taken
        return int(peer[1]) if peer else 0

    def close(self) -> None:
        for end in self.ends:
            end.close()

    def reset(self) -> None:
        for end in self.ends:
            raw = end.get_extra_info("socket")
            with suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            end.transport.abort()


class Proxy:
    """Listens on a free port of loopback and forwards to `target`; its faults may be ordered from any thread.

    It runs on a thread of its own, so that it goes on while a test waits for something.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._links: set[Link] = set()
        self._swallowed: Collection[int] | None = None
        """Whose words are swallowed at present: those of some processes, or with none named of all."""
        self.delay_s = 0.0
        """How long each piece is held back."""
        self.slice_bytes = 0
        """The most that is forwarded at once; 0 for all there is."""
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def cut(self) -> int:
        """End all connections in order; return how many there were."""
        return self._to_each(Link.close)

    def reset(self) -> int:
        """Reset all connections; return how many there were."""
        return self._to_each(Link.reset)

    @contextmanager
    def black_hole(self, pids: Collection[int] = ()) -> Iterator[None]:
        """Swallow whatever is said meanwhile, where processes are named by and to them alone; they can connect.

        No connection that lived in the meantime ever works again, and none of them is told: as behind a firewall
        that has forgotten them.
        """
        self._swallowed = pids
        ports = _ports_of(pids)
        for link in tuple(self._links):
            link.swallows = link.swallows or not pids or link.port in ports
        try:
            yield
        finally:
            self._swallowed = None
            for link in tuple(self._links):
                link.dead = link.dead or link.swallows

    @contextmanager
    def slow(self, rng: random.Random) -> Iterator[None]:
        """Hold every piece back a little, and forward it in bytes and crumbs."""
        self.delay_s, self.slice_bytes = rng.uniform(0.001, 0.005), rng.randint(1, 64)
        try:
            yield
        finally:
            self.delay_s, self.slice_bytes = 0.0, 0

    def _to_each(self, act: Callable[[Link], None]) -> int:
        links = tuple(self._links)
        for link in links:
            self._loop.call_soon_threadsafe(act, link)
        return len(links)

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _close(self) -> None:
        self._server.close()
        while self._links:
            for link in tuple(self._links):
                link.reset()
            await asyncio.sleep(0.01)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, self._target)
        except OSError:
            writer.close()
            return
        link = Link(writer, far_writer)
        if (pids := self._swallowed) is not None:
            link.swallows = not pids or link.port in _ports_of(pids)
        self._links.add(link)
        try:
            await asyncio.gather(self._pump(link, reader, far_writer), self._pump(link, far_reader, writer))
        finally:
            self._links.discard(link)
            link.close()

    async def _pump(self, link: Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(_CHUNK):
                step = self.slice_bytes or len(data)
                for start in range(0, len(data), step):
                    if self.delay_s:
                        await asyncio.sleep(self.delay_s)
                    if link.dead or link.swallows:
                        link.dead = True
                        break
                    sink.write(data[start : start + step])
                    await sink.drain()
        if not link.dead:
            sink.close()


def _ports_of(pids: Collection[int]) -> frozenset[int]:
    """Return the ports from which processes have made connections."""
    ports: set[int] = set()
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            ports.update(each.laddr.port for each in psutil.Process(pid).net_connections("tcp"))
    return frozenset(ports)
