"""A request as Falcon reads it, which also knows whether its client stayed to the end of its body; its trace."""

from collections.abc import Awaitable, Callable
from typing import Any

from falcon import COMBINED_METHODS
from falcon.asgi import Request
from falcon.asgi_spec import AsgiEvent, EventType
from falcon.request import RequestOptions

from ops.tracing import present_traceparent

_TRACEPARENT_CHARS = 55
# What Falcon names so is no method of HTTP's; it would take such a request for a handshake of its own.
_METHODS = frozenset(COMBINED_METHODS) - {"WEBSOCKET"}
_UNKNOWN = "UNKNOWN"


class _Body:
    """Where a request's body comes from, and whether it came to its end.

    PERF: were it the request itself that listens, it would hold itself by a method of its own, and only the search
    for cycles would free it: a twentieth of what a request costs.
    """

    __slots__ = ("_receive", "is_cut")

    def __init__(self, receive: Callable[[], Awaitable[AsgiEvent]]) -> None:
        self._receive, self.is_cut = receive, False

    async def listen(self) -> AsgiEvent:
        event = await self._receive()
        if event["type"] == EventType.HTTP_DISCONNECT:
            self.is_cut = True
        return event


class WholeRequest(Request):
    """A request that can say that its client left in the middle of the body. Its method is one that there is.

    NOTE: Falcon 4.4 takes the end of the connection for the end of the body. What came before it may well be good
    JSON, or be missing where a body is optional, and such a request must not be done (RFC 9112, section 8).
    """

    __slots__ = ("_body",)

    def __init__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[AsgiEvent]],
        first_event: AsgiEvent | None = None,
        options: RequestOptions | None = None,
    ) -> None:
        """Keep from whom the body comes, and listen for its end."""
        self._body = _Body(receive)
        super().__init__(scope, self._body.listen, first_event, options)
        if self.method not in _METHODS:
            # Whatever a caller invents has one name: measures and traces are kept for each.
            self.method = _UNKNOWN

    @property
    def accept(self) -> str:
        """Return which media types the client takes. Falcon compares letters, whose case says nothing in them."""
        return str(super().accept).lower()

    @property
    def is_cut(self) -> bool:
        """Tell whether the client left before the end of the body."""
        return self._body.is_cut


def traceparent_of(req: Request) -> str | None:
    """Return the trace in which goes on what this request asks for: its own, where that is recorded.

    Where nothing is traced, what the caller sent is kept for whoever traces its own side.
    """
    traceparent = present_traceparent() or req.get_header("traceparent")
    return traceparent and traceparent[:_TRACEPARENT_CHARS]
