"""gunicorn's `asgi` worker, with an orderly end: connections that ask nothing do not hold it up."""

import asyncio
import select
from weakref import WeakSet

from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers import gasgi

# Longer than httpx (5 s) or undici (4 s) keep an idle connection: sooner, one would be closed just as its client
# takes it up again.
_LINGER_S = 6.0
_STALLED_S = 30.0
_ANNOUNCE_S = 0.5
"""Longer than any answer is on its way that promised to keep its connection before the end was announced."""


class Connection(ASGIProtocol):
    """A connection that its worker knows of."""

    def __init__(self, *args: object) -> None:
        """Begin with a client that reads."""
        super().__init__(*args)
        self._stalled: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """Give a client whose buffer is full some time to read; the answer to it waits meanwhile."""
        super().pause_writing()
        self._stalled = self.worker.loop.call_later(_STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Be glad that it reads."""
        super().resume_writing()
        self._end_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        super().connection_lost(exc)
        self._end_timer()

    def _end_timer(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register with the worker."""
        super().connection_made(transport)
        self.worker.connections.add(self)

    def _will_close(self, request: object, response_requires_close: bool) -> bool:  # noqa: FBT001 - gunicorn's signature
        """Tell the client to open another connection next time, as soon as the worker is to stop."""
        return self.worker.is_leaving or bool(super()._will_close(request, response_requires_close))

    def close_if_idle(self) -> None:
        """Close a connection whose last request is answered, as when its keep-alive time is over.

        A new one is spared: its first request is on the way, and its client would not expect to send it again. So
        is one with something to read: a request may have come while the loop was busy with others, and timers go
        before reading.
        """
        if self._awaiting_request and self.req_count > 1 and not self._has_arrived():
            self._keepalive_timeout()

    def _has_arrived(self) -> bool:
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))


# NOTE: gunicorn 27 waits for idle keep-alive connections until the master kills the worker, so the services
# would never be closed under a load balancer. It has no setting for the protocol, only this name.
gasgi.ASGIProtocol = Connection


class Worker(gasgi.ASGIWorker):
    """The `asgi` worker that says goodbye to idle clients when it is asked to stop."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Begin without connections."""
        super().__init__(*args, **kwargs)
        self.is_leaving = False
        self.connections: WeakSet[Connection] = WeakSet()

    def handle_exit_signal(self) -> None:
        """Stop: requests under way are answered, and a little later idle connections are closed.

        The application lets go whoever waits for something to happen: that could take longer than there is time.

        Every answer from now on says `Connection: close`. A client that is about to ask again on its open
        connection still gets one; only who has been silent for a while finds the connection gone.

        NOTE: gunicorn 27 closes a connection whose answer has just promised to keep it, when `alive` falls in
        between. So that comes a moment later, when all such promises are kept or taken back.
        """
        self.is_leaving = True
        self.asgi.release()
        self.loop.call_later(_ANNOUNCE_S, self._stop)

    def _stop(self) -> None:
        super().handle_exit_signal()
        self.loop.call_later(_LINGER_S, self._close_idle)

    def _close_idle(self) -> None:
        for connection in tuple(self.connections):
            connection.close_if_idle()
