"""The running market as its customers reach it: over HTTP, and with a notebook for what is not as it must be."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
from rich.console import Console

from api.client import MarketFlowError, Request, SyncClient
from ops.errors import OperatorError
from ops.stack import StackInfo

Value = TypeVar("Value")
Json = dict[str, Any]
_TIMEOUT_S = 30


@dataclass(slots=True)
class Market:
    """The API and the sandbox; `disagreements` collects whatever is not as it must be."""

    info: StackInfo
    console: Console
    stripe: httpx.Client
    closing: ExitStack
    disagreements: list[str] = field(default_factory=list)
    _finance: SyncClient | None = None

    @property
    def finance(self) -> SyncClient:
        """The client of finance."""
        if self._finance is None:
            self._finance = self.log_in("finance")
        return self._finance

    def register(self, name: str, role: str) -> tuple[str, SyncClient]:
        """Return the id of a new user, and the client with which it calls."""
        email, password = f"{name}-{uuid.uuid4().hex[:8]}@example.com", uuid.uuid4().hex
        caller = self.nobody()
        user = caller.request("POST", "/v1/users", {"email": email, "password": password, "role": role})
        caller.log_in(email, password)
        return str(user["id"]), caller

    def log_in(self, role: str) -> SyncClient:
        """Return the client of the user of that role whom the stack is seeded with."""
        user, caller = self.info.users[role], self.nobody()
        caller.log_in(user.email, user.password)
        return caller

    def nobody(self) -> SyncClient:
        """Return a client that has not logged in."""
        return self.closing.enter_context(SyncClient(self.info.api))

    def expect(self, holds: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as a sentence
        """Note what does not hold."""
        if not holds:
            self.disagreements.append(otherwise)
            self.console.print(f"[red]{otherwise}[/red]", highlight=False)

    def say(self, text: str) -> None:
        """Tell of a step."""
        self.console.print(f"  {text}", highlight=False)


def wait_until(read: Callable[[], Value], is_done: Callable[[Value], bool], *, pause_s: float) -> Value:
    """Read again and again until it is done or too late; return what was read last."""
    deadline = time.monotonic() + _TIMEOUT_S
    while not is_done(value := read()) and time.monotonic() < deadline:
        time.sleep(pause_s)
    return value


def ask(caller: SyncClient, request: Request) -> httpx.Response:
    """Send a request and return whatever is answered."""
    return caller.run(lambda: caller.client.ask(request))


@contextmanager
def explained() -> Iterator[None]:
    """Say what the API refused. Errors: OperatorError."""
    try:
        yield
    except MarketFlowError as error:
        raise OperatorError(str(error)) from error
