"""The running market as its customers reach it: over HTTP, and with a notebook for what is not as it must be."""

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
from rich.console import Console

from ops.errors import OperatorError
from ops.stack import StackInfo

Value = TypeVar("Value")
Json = dict[str, Any]
Headers = Mapping[str, str]

_TIMEOUT_S = 30


@dataclass(slots=True)
class Market:
    """The API and the sandbox; `disagreements` collects whatever is not as it must be."""

    info: StackInfo
    console: Console
    http: httpx.Client
    stripe: httpx.Client
    disagreements: list[str] = field(default_factory=list)

    def register(self, name: str, role: str) -> tuple[str, Headers]:
        """Return the id of a new user, and the header with which it calls."""
        credentials = {"email": f"{name}-{uuid.uuid4().hex[:8]}@example.com", "password": uuid.uuid4().hex}
        user = self.post("/v1/users", {**credentials, "role": role}, {})
        return str(user["id"]), self._token(credentials)

    def log_in(self, role: str) -> Headers:
        """Return the header of the user of that role whom the stack is seeded with."""
        user = self.info.users[role]
        return self._token({"email": user.email, "password": user.password})

    def post(self, path: str, body: Mapping[str, object] | None, headers: Headers, *, key: str = "") -> Json:
        """Send a request, under an idempotency key if one is given, and return the answer."""
        return answer_of(self.ask("POST", path, body, headers, key=key))

    def put(self, path: str, body: Mapping[str, object], headers: Headers) -> Json:
        """Send a request and return the answer."""
        return answer_of(self.ask("PUT", path, body, headers))

    def patch(self, path: str, body: Mapping[str, object], headers: Headers) -> Json:
        """Send a request and return the answer."""
        return answer_of(self.ask("PATCH", path, body, headers))

    def get(self, path: str, headers: Headers, **query: str) -> Json:
        """Return what is there."""
        return answer_of(self.http.get(path, headers=dict(headers), params=query or None))

    def ask(
        self, method: str, path: str, body: Mapping[str, object] | None, headers: Headers, *, key: str = ""
    ) -> httpx.Response:
        """Send a request and return whatever is answered."""
        keyed = {**headers, **({"Idempotency-Key": key} if key else {})}
        return self.http.request(method, path, json=body, headers=keyed)

    def expect(self, holds: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as a sentence
        """Note what does not hold."""
        if not holds:
            self.disagreements.append(otherwise)
            self.console.print(f"[red]{otherwise}[/red]", highlight=False)

    def say(self, text: str) -> None:
        """Tell of a step."""
        self.console.print(f"  {text}", highlight=False)

    def _token(self, credentials: Mapping[str, str]) -> Headers:
        return {"Authorization": f"Bearer {self.post('/v1/tokens', credentials, {})['access_token']}"}


def new_key() -> str:
    """Return an idempotency key."""
    return str(uuid.uuid4())


def wait_until(read: Callable[[], Value], is_done: Callable[[Value], bool], *, pause_s: float) -> Value:
    """Read again and again until it is done or too late; return what was read last."""
    deadline = time.monotonic() + _TIMEOUT_S
    while not is_done(value := read()) and time.monotonic() < deadline:
        time.sleep(pause_s)
    return value


def answer_of(response: httpx.Response) -> Json:
    """Return the JSON of a success. Errors: OperatorError."""
    if response.is_error:
        raise OperatorError(f"{response.request.method} {response.request.url}: {response.text}")
    answer: Json = response.json()
    return answer
