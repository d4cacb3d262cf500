"""How spans reach their collector: HTTP by the standard library.

PERF: of `requests` and `urllib3`, with which OpenTelemetry's exporter comes, the API would have no other use; the
smaller one was 1.5 MiB of it.
"""

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from urllib.parse import quote, urlsplit, urlunsplit

from opentelemetry.exporter.http.transport._base import BaseHTTPResult, BaseHTTPTransport

_NOT_QUOTED = "%/?:@!$&'()*+,;=~"
_MOST_BYTES = 65_536
"""What is read of an answer: nothing at all, or why spans were refused."""


@dataclass(frozen=True, slots=True)
class _Answer(BaseHTTPResult):
    """What a collector said, or the error that came instead."""

    body: bytes = b""
    fields: Message = field(default_factory=Message)

    def content(self) -> bytes:
        """Return the body."""
        return self.body

    def headers(self) -> Mapping[str, str]:
        """Return the headers, whose names may be asked for in any case."""
        return self.fields  # type: ignore[return-value]  # it has what a Mapping has


class StandardTransport(BaseHTTPTransport):
    """One connection to a collector, kept between exports: an exporter has one thread."""

    def __init__(self, authorities: str | None = None) -> None:
        """Keep the file of the authorities that may vouch for the collector, if not the system's own may."""
        self._authorities = authorities
        self._context: ssl.SSLContext | None = None
        self._connection: http.client.HTTPConnection | None = None

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str] | None = None,
        timeout: float | None = None,
        data: bytes | None = None,
    ) -> BaseHTTPResult:
        """Ask, and return what was answered, or the error; as of BaseHTTPTransport."""
        try:
            return self._ask(method, url, headers or {}, timeout, data)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return _Answer(error=error)

    def is_connection_error(self, exception: Exception | None) -> bool:
        """Tell whether it may help to ask again at once: the connection had been closed, or there was none.

        Not when time was over, nor where the collector is not who it should be.
        """
        return isinstance(exception, OSError | http.client.HTTPException) and not isinstance(
            exception, TimeoutError | ssl.SSLCertVerificationError
        )

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _ask(
        self, method: str, url: str, headers: Mapping[str, str], timeout: float | None, data: bytes | None
    ) -> _Answer:
        parts = urlsplit(url)
        if self._connection is None:
            self._connection = self._connect(parts.scheme, parts.netloc.rpartition("@")[2])
        self._connection.timeout = timeout
        if self._connection.sock is None:
            self._connection.connect()
        target = quote(urlunsplit(("", "", parts.path or "/", parts.query, "")), safe=_NOT_QUOTED)
        with _hanging_up(self._connection.sock, timeout):
            self._connection.request(method, target, data, headers)
            response = self._connection.getresponse()
            body = response.read(_MOST_BYTES)
        if not response.isclosed():  # there is more of it, which would stand before the next answer
            self.close()
        return _Answer(response.status, response.reason, body=body, fields=response.headers)

    def _connect(self, scheme: str, host: str) -> http.client.HTTPConnection:
        if scheme == "https":
            # PERF: kept, since it takes 30 ms to make, and a collector may be away for long.
            self._context = self._context or ssl.create_default_context(cafile=self._authorities)
            return http.client.HTTPSConnection(host, context=self._context)
        return http.client.HTTPConnection(host)


@contextmanager
def _hanging_up(sock: socket.socket, timeout: float | None) -> Iterator[None]:
    """Let what is done in the block take so long altogether. Errors: TimeoutError.

    A socket's own timeout begins anew with each byte, so a collector that says one now and then would hold the
    exporter for days.
    """
    sock.settimeout(timeout)
    is_over = threading.Event()

    def hang_up() -> None:
        is_over.set()
        with suppress(OSError):
            socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not TLS's own, which is not for two threads at once

    timer = threading.Timer(timeout if timeout is not None else threading.TIMEOUT_MAX, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        if is_over.is_set():
            raise TimeoutError("the collector does not come to an end") from error
        raise
    finally:
        timer.cancel()
    if is_over.is_set():
        raise TimeoutError("the collector does not come to an end")
