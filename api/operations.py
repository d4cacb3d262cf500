"""An operation: what a responder takes and gives. Validation, access and OpenAPI all read the same lines."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, TypeVar

from falcon.asgi import App, Request, Response
from pydantic import BaseModel

from api.schemas import EmptyQuery, QueryModel, RequestModel
from domain.identity.model import Scope

Responder = TypeVar("Responder", bound=Callable[..., Any])

_ATTRIBUTE = "marketflow_operation"
_METHODS = ("get", "post", "put", "patch", "delete")
# What an API key's scope is called for the operations of a tag. Those of other tags want a session: identity.
_AREAS = {
    "catalog": "catalog",
    "cart": "orders",
    "orders": "orders",
    "payments": "payments",
    "results": "results",
    "sellers": "sellers",
    "finance": "finance",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one route.

    A body that is `optional_body` may be left out: it is the model's defaults then. So may be the Idempotency-Key
    of an `idempotent` one with an `optional_key`: it is None then. `max_body_bytes` is for a body that may be
    larger than those of other operations.
    `public` operations need no token; one that `greets` knows who calls where a token comes along. `limited` is
    off for those that machines call for the service's sake: health, metrics, Stripe. A `conditional` one answers
    with an ETag, and 304 to who has that version; one that `waits` honours `Prefer: wait=N`; one that `resumes`
    is a stream that goes on after `Last-Event-ID`, of which `example` shows some lines; `also` are other media
    types, for those whose `Accept` prefers one. `scope` is what an API key must have for it, or else is not
    greeted where it is public; it follows from the tag and the method, and without one it wants a session.
    """

    summary: str
    tag: str
    status: HTTPStatus
    answer: type[BaseModel] | None
    body: type[RequestModel] | None = None
    query: type[QueryModel] = EmptyQuery
    public: bool = False
    greets: bool = False
    limited: bool = True
    idempotent: bool = False
    optional_key: bool = False
    optional_body: bool = False
    raw_body: bool = False
    max_body_bytes: int = 0
    media_type: str = "application/json"
    also: tuple[str, ...] = ()
    location: bool = False
    conditional: bool = False
    waits: bool = False
    resumes: bool = False
    example: str = ""
    scope: Scope | None = None


def operation(
    summary: str,
    tag: str,
    answer: type[BaseModel] | None = None,
    *,
    status: HTTPStatus = HTTPStatus.OK,
    **options: Any,
) -> Callable[[Responder], Responder]:
    """Attach an Operation to a responder; see there for the options."""

    def attach(responder: Responder) -> Responder:
        setattr(responder, _ATTRIBUTE, Operation(summary, tag, status, answer, **options))
        return responder

    return attach


class Routes:
    """The application's routes with their operations."""

    def __init__(self, app: App[Request, Response]) -> None:
        """Add routes to that application."""
        self._app = app
        self._operations: dict[tuple[str, str], Operation] = {}

    def add(self, template: str, resource: object, *, suffix: str | None = None, is_last: bool = False) -> None:
        """Add a route; each of its responders must be an operation.

        PERF: with the last one the router is compiled, else each worker would do it at its first request.
        """
        ending = f"_{suffix}" if suffix else ""
        for method in _METHODS:
            responder = getattr(resource, f"on_{method}{ending}", None)
            if responder is not None:
                declared: Operation = getattr(responder, _ATTRIBUTE)
                self._operations[template, method.upper()] = replace(declared, scope=_scope(declared, method))
                if method == "get" and not declared.resumes:
                    # Whatever can be read can be asked for its head, of which Falcon leaves out the body.
                    setattr(resource, f"on_head{ending}", responder)
        self._app.add_route(template, resource, compile=is_last, **({"suffix": suffix} if suffix else {}))

    def find(self, template: str | None, method: str) -> Operation | None:
        """Return the operation of a request; None for OPTIONS and for methods that are not allowed."""
        return self._operations.get((template or "", "GET" if method == "HEAD" else method))

    def __iter__(self) -> Iterator[tuple[str, str, Operation]]:
        """Yield template, method and operation of all."""
        for (template, method), found in self._operations.items():
            yield template, method, found


def _scope(declared: Operation, method: str) -> Scope | None:
    area = _AREAS.get(declared.tag)
    if area is None or (declared.public and not declared.greets):
        return None
    return Scope(f"{area}:{'read' if method == 'get' else 'write'}")
