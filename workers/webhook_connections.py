"""aiohttp's connections to other people's servers, none of which may hold up or fill this process."""

import asyncio
import socket
from functools import partial
from http import HTTPStatus
from typing import Any, cast

import aiohttp
from aiohttp import StreamReader
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError

from ops.names import NameLookups

_INTERIM = frozenset(range(100, 200)) - {HTTPStatus.SWITCHING_PROTOCOLS}
_MOST_INTERIM = 16
_PIECE_BYTES = 4_096
_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class Resolver(AbstractResolver):
    """The system's resolver; a name for which no server answers holds up no other."""

    def __init__(self, *, most: int) -> None:
        """Keep how many names may be looked up at once."""
        self._names = NameLookups(most=most)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return a host's addresses. Errors: OSError."""
        found = await self._names.look_up(host, port, family=family, flags=socket.AI_ADDRCONFIG)
        return [
            ResolveResult(
                hostname=host, host=address[0], port=address[1], family=kind, proto=protocol, flags=_NUMERIC
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Hold nothing."""


class Connection(ResponseHandler):
    """A connection on which a server may say a few times that its answer will come (1xx), and not for ever.

    NOTE: aiohttp 3.14 reads interim responses for as long as they come, without leaving the event loop to anybody
    else, and keeps all that have come: one endpoint could stop the process and fill its memory.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin without a request."""
        super().__init__(loop)
        self._interim = 0
        self._is_answered = False

    def set_response_params(self, **options: Any) -> None:
        """Begin with a request."""
        self._interim, self._is_answered = 0, False
        super().set_response_params(**options)

    def data_received(self, data: bytes) -> None:
        """Read on, before the answer in small pieces: who sends too much is noticed before it all is read."""
        start = 0
        while not self._is_answered and len(data) - start > _PIECE_BYTES:
            super().data_received(data[start : start + _PIECE_BYTES])
            start += _PIECE_BYTES
            if not self.is_connected():
                return
        super().data_received(data[start:] if start else data)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Hand a response on to who waits for it, unless it is one interim response too many."""
        if data[0].code in _INTERIM:
            self._interim += 1
        else:
            self._is_answered = True
        if self._interim <= _MOST_INTERIM:
            super().feed_data(data, size)
        elif self.transport is not None and not self.transport.is_closing():
            self.transport.abort()
            self.set_exception(HttpProcessingError(message="too many interim responses"))


class Connector(aiohttp.TCPConnector):
    """aiohttp's, which makes connections of ours; it has no setting for that."""

    def __init__(self, **options: Any) -> None:
        """Keep what a connector keeps."""
        super().__init__(**options)
        self._factory = cast("partial[ResponseHandler]", partial(Connection, loop=self._loop))
