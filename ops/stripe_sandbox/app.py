"""The Falcon application: one adapter between HTTP and the operations of the resources."""

import asyncio
import base64
import binascii
import re
from collections.abc import Callable
from typing import NamedTuple

import falcon
import falcon.asgi

from ops.stripe_sandbox import control, outside
from ops.stripe_sandbox.errors import (
    ApiError,
    ConnectionCutError,
    invalid,
    no_access,
    rate_limited,
    server_error,
)
from ops.stripe_sandbox.forms import Pairs, nest, parse_pairs
from ops.stripe_sandbox.idempotency import Idempotency, Remembered, fingerprint
from ops.stripe_sandbox.lifespan import Lifespan
from ops.stripe_sandbox.objects import Page, View
from ops.stripe_sandbox.resources import (
    accounts,
    balance_transactions,
    charges,
    disputes,
    events,
    payment_intents,
    payouts,
    refunds,
    reversals,
    transfers,
)
from ops.stripe_sandbox.sandbox import API_VERSION, Call, Sandbox
from ops.stripe_sandbox.webhooks import Dispatcher

Operation = Callable[[Call], View | Page | str]
RESOURCES = (
    payment_intents,
    charges,
    refunds,
    balance_transactions,
    events,
    disputes,
    accounts,
    transfers,
    reversals,
    payouts,
)
_OF_ACCOUNTS = (balance_transactions, charges, events, payouts)
"""What the sandbox serves on behalf of connected accounts: separate charges and transfers need no more."""
_LONGEST_BODY = 1_048_576
_KEY = re.compile(r"(sk|rk)_test_\w+\Z")


class Answer(NamedTuple):
    """The status and the body of an answer, and the request that it was first given to."""

    status: int
    body: View | Page | str
    original_request_id: str | None = None


class Endpoint:
    """One path of Stripe's API, with an operation for each method that it has."""

    def __init__(
        self,
        sandbox: Sandbox,
        idempotency: Idempotency,
        operations: dict[str, Operation],
        *,
        serves_accounts: bool = False,
    ) -> None:
        self._serves_accounts = serves_accounts
        self._sandbox = sandbox
        self._idempotency = idempotency
        self._operations = operations
        self._known_keys: set[str] = set()

    async def on_get(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, object_id: str = "", part_id: str = ""
    ) -> None:
        """Answer a GET."""
        await self._respond(req, resp, object_id, part_id)

    async def on_post(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, object_id: str = "", part_id: str = ""
    ) -> None:
        """Answer a POST, at most once per idempotency key."""
        await self._respond(req, resp, object_id, part_id)

    async def on_delete(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, object_id: str = "", part_id: str = ""
    ) -> None:
        """Answer a DELETE."""
        await self._respond(req, resp, object_id, part_id)

    async def _respond(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, object_id: str, part_id: str
    ) -> None:
        call = Call(
            sandbox=self._sandbox,
            method=req.method,
            path=req.path,
            request_id=self._sandbox.new_id("req"),
            object_id=object_id,
            part_id=part_id,
            host=req.get_header("Host") or "",
            idempotency_key=req.get_header("Idempotency-Key") if req.method == "POST" else None,
        )
        try:
            self._authenticate(req)
            call.account = self._account(req)
            answer = await self._answer(call, parse_pairs(await _read(req)))
        except ApiError as error:
            answer = Answer(error.status, error.view)
        _write(req, resp, call, answer)

    def _authenticate(self, req: falcon.asgi.Request) -> None:
        given = req.get_header("Authorization")
        if given in self._known_keys:
            return
        if not given:
            message = (
                "You did not provide an API key. You need to provide your API key in the Authorization header,"
                " using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
            )
            raise ApiError(401, "invalid_request_error", message)
        key = _secret_key(given)
        if not _KEY.match(key):
            raise ApiError(401, "invalid_request_error", f"Invalid API Key provided: {key[:8]}****")
        self._known_keys.add(given)

    def _account(self, req: falcon.asgi.Request) -> str:
        account = req.get_header("Stripe-Account")
        if account is None:
            return ""
        if self._sandbox.store.accounts.get(account) is None:
            raise no_access(_secret_key(req.get_header("Authorization") or ""), account)
        if not self._serves_accounts:
            raise invalid("The sandbox does not serve this on behalf of connected accounts.")
        return account

    async def _answer(self, call: Call, pairs: Pairs) -> Answer:
        operation = self._operations.get(call.method)
        if operation is None:
            raise unrecognized(call.method, call.path)
        faults = self._sandbox.faults
        if not faults.active:
            return self._complete(call, operation, pairs, self._begin(call, pairs))
        if faults.draw_call("drop_before", call.method, call.path):
            raise ConnectionCutError
        if faults.draw_call("error_429", call.method, call.path):
            raise rate_limited()
        answer = await self._delayed(call, operation, pairs)
        if faults.draw_call("drop_after", call.method, call.path):
            raise ConnectionCutError
        return answer

    def _begin(self, call: Call, pairs: Pairs) -> Remembered | None:
        if call.idempotency_key is None:
            return None
        call.fingerprint = fingerprint(pairs)
        return self._idempotency.begin(call.scoped_key, call.path, call.fingerprint)

    async def _delayed(self, call: Call, operation: Operation, pairs: Pairs) -> Answer:
        remembered = self._begin(call, pairs)
        delay = self._sandbox.faults.draw_call("delay_ms", call.method, call.path)
        if delay is None:
            return self._complete(call, operation, pairs, remembered)

        async def complete_later() -> Answer:
            await self._sandbox.sleep(delay.argument_ms / 1000)
            return self._complete(call, operation, pairs, remembered)

        # A client that gives up waiting does not stop Stripe: the call is done all the same.
        return await asyncio.shield(asyncio.create_task(complete_later()))

    def _complete(self, call: Call, operation: Operation, pairs: Pairs, remembered: Remembered | None) -> Answer:
        if remembered is not None:
            return Answer(remembered.status, remembered.view, remembered.request_id)
        key = call.idempotency_key
        try:
            call.params = nest(pairs)
            answer = self._execute(call, operation)
            if key is not None and isinstance(answer.body, View):
                self._idempotency.remember(
                    call.scoped_key,
                    Remembered(
                        call.path,
                        call.fingerprint,
                        answer.status,
                        answer.body,
                        call.request_id,
                        int(self._sandbox.now()),
                    ),
                )
        finally:
            if key is not None:
                self._idempotency.end(call.scoped_key)
        return answer

    def _execute(self, call: Call, operation: Operation) -> Answer:
        """Run the operation; raises the ApiErrors that no key remembers, and returns all other answers."""
        faults = self._sandbox.faults
        try:
            if faults.active and faults.draw_call("error_500", call.method, call.path):
                raise server_error()
            body = operation(call)
            if faults.active and faults.draw_call("error_500_after", call.method, call.path):
                raise server_error()
        except ApiError as error:
            if not error.kept:
                raise
            return Answer(error.status, error.view)
        return Answer(200, body)


def unrecognized(method: str, path: str) -> ApiError:
    """Refuse a path or a method that the sandbox does not have."""
    message = (
        f"Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs or we can help at"
        " https://support.stripe.com/."
    )
    return ApiError(404, "invalid_request_error", message)


def create_app(sandbox: Sandbox) -> falcon.asgi.App:  # type: ignore[type-arg]  # falcon's default types serve
    """Return the application that serves this sandbox."""
    dispatcher = Dispatcher(sandbox)
    app = falcon.asgi.App(middleware=[Lifespan(sandbox, dispatcher)])
    idempotency = Idempotency(sandbox)
    for resource in RESOURCES:
        routes: dict[str, dict[str, Operation]] = resource.ROUTES
        for path, operations in routes.items():
            serves_accounts = resource in _OF_ACCOUNTS
            app.add_route(path, Endpoint(sandbox, idempotency, operations, serves_accounts=serves_accounts))
    control.add_routes(app, sandbox, dispatcher)
    outside.add_routes(app, sandbox)
    unknown = Endpoint(sandbox, idempotency, {})

    async def answer_unknown(req: falcon.asgi.Request, resp: falcon.asgi.Response | None, **_path: str) -> None:
        assert resp is not None  # noqa: S101 - only WebSocket sinks get no response
        await unknown.on_get(req, resp)

    app.add_sink(answer_unknown, "/v1/")
    return app


async def _read(req: falcon.asgi.Request) -> str:
    if req.method != "POST":
        return req.query_string
    raw = await req.stream.read(_LONGEST_BODY + 1)
    if len(raw) > _LONGEST_BODY:
        raise ApiError(413, "invalid_request_error", "The request body is too large.")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise invalid("The request body is not valid UTF-8.") from None


def _secret_key(authorization: str) -> str:
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(credentials, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return credentials.strip() if scheme.lower() == "bearer" else ""


def _write(req: falcon.asgi.Request, resp: falcon.asgi.Response, call: Call, answer: Answer) -> None:
    resp.status = answer.status
    body = answer.body
    resp.data = (body if isinstance(body, str) else body.encode()).encode("ascii")
    resp.set_header("Request-Id", call.request_id)
    resp.set_header("Stripe-Version", req.get_header("Stripe-Version") or API_VERSION)
    if call.idempotency_key is not None:
        resp.set_header("Idempotency-Key", call.idempotency_key)
    if answer.original_request_id is not None:
        resp.set_header("Idempotent-Replayed", "true")
        resp.set_header("Original-Request", answer.original_request_id)
    if answer.status == 429:
        resp.set_header("Retry-After", "1")
