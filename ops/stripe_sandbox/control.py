"""The control API under `/_sandbox`: the truth, faults, the clock, and what cardholders and banks do."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import falcon
import falcon.asgi

from ops.stripe_sandbox.charging import authorize, fail_intent, shown_payment_method
from ops.stripe_sandbox.errors import ApiError
from ops.stripe_sandbox.expansion import table
from ops.stripe_sandbox.faults import FaultRefusedError, parse_fault
from ops.stripe_sandbox.objects import TEMPLATES, Obj, View, dump, whole
from ops.stripe_sandbox.resources.balance_transactions import as_of_now, balance
from ops.stripe_sandbox.resources.disputes import STATUSES, DisputeRefusedError, move_dispute, open_dispute
from ops.stripe_sandbox.sandbox import Call, Sandbox, encode_event
from ops.stripe_sandbox.webhooks import Dispatcher

_LONGEST_BODY = 65_536
_LONGEST_OFFSET_S = 10 * 366 * 24 * 3600
_CHUNK = 200
_KINDS = ("payment_intent", "charge", "refund", "balance_transaction", "dispute")
App = Any
Request = falcon.asgi.Request
Response = falcon.asgi.Response


class Health:
    """Whether the sandbox answers."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer that all is well."""
        resp.text = '{"status":"ok"}'


class State:
    """Everything that the sandbox holds."""

    def __init__(self, sandbox: Sandbox, dispatcher: Dispatcher) -> None:
        self._sandbox = sandbox
        self._dispatcher = dispatcher

    async def on_get(self, req: Request, resp: Response) -> None:
        """Return every object in the order of creation; `?compact=true` leaves the constant fields out."""
        resp.content_type = falcon.MEDIA_JSON
        resp.stream = self._chunks(is_compact=req.get_param_as_bool("compact", default=False))

    async def on_delete(self, req: Request, resp: Response) -> None:
        """Forget everything."""
        self._dispatcher.clear()
        self._sandbox.reset()
        resp.status = falcon.HTTP_204

    async def _chunks(self, *, is_compact: bool) -> AsyncIterator[bytes]:
        # Rows never change in place: these lists are the state of one moment, however long writing takes.
        summary = dump(self._summary())
        tables = {kind: list(table(self._sandbox.store, kind).rows) for kind in _KINDS}
        yield b"{"
        for kind, rows in tables.items():
            yield f'"{kind}s":['.encode()
            for start in range(0, len(rows), _CHUNK):
                comma = "," if start else ""
                yield (comma + self._texts(kind, rows[start : start + _CHUNK], is_compact=is_compact)).encode()
                await asyncio.sleep(0)  # the API calls that came meanwhile
            yield b"],"
        yield summary[1:].encode()

    def _texts(self, kind: str, rows: list[Obj], *, is_compact: bool) -> str:
        if kind == "balance_transaction":
            rows = [as_of_now(self._sandbox, row) for row in rows]
        template = TEMPLATES[kind]
        return ",".join(dump(row) if is_compact else template.encode(row, {}) for row in rows)

    def _summary(self) -> Obj:
        store, dispatcher = self._sandbox.store, self._dispatcher
        return {
            "transfers": [],
            "payouts": [],
            "events": len(store.events.rows),
            "balance": whole("balance", balance(self._sandbox)),
            "webhooks": {
                "pending": len(store.deliveries.rows),
                "delivered": dispatcher.delivered,
                "failed_attempts": dispatcher.failed_attempts,
                "dropped": dispatcher.dropped,
            },
            "clock": {"offset_s": store.settings.get("offset_s") or 0, "now": self._sandbox.now()},
        }


class FaultList:
    """The faults in force."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def on_get(self, req: Request, resp: Response) -> None:
        """List them."""
        resp.media = {"faults": [fault.described() for fault in self._sandbox.faults.active]}

    async def on_post(self, req: Request, resp: Response) -> None:
        """Put one in force."""
        try:
            fault = parse_fault(await _body(req))
        except FaultRefusedError as error:
            raise _unprocessable(str(error)) from error
        self._sandbox.faults.add(fault)
        resp.status = falcon.HTTP_201
        resp.media = fault.described()

    async def on_delete(self, req: Request, resp: Response) -> None:
        """End all."""
        self._sandbox.faults.clear()
        resp.status = falcon.HTTP_204


class Clock:
    """The sandbox's clock."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def on_get(self, req: Request, resp: Response) -> None:
        """Return the time and its offset from the real one."""
        offset_s = self._sandbox.store.settings.get("offset_s") or 0
        resp.media = {"offset_s": offset_s, "now": self._sandbox.now()}

    async def on_post(self, req: Request, resp: Response) -> None:
        """Set the offset, in place of an earlier one."""
        body = await _fields(req, {"offset_s"})
        offset_s = body.get("offset_s")
        if isinstance(offset_s, bool) or not isinstance(offset_s, int | float):
            raise _unprocessable("offset_s must be a number of seconds")
        if not -_LONGEST_OFFSET_S <= offset_s <= _LONGEST_OFFSET_S:
            raise _unprocessable("offset_s must be within ten years")
        self._sandbox.store.settings.put("offset_s", offset_s)
        await self.on_get(req, resp)


class Authentication:
    """The cardholder's answer to 3-D Secure."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def on_post(self, req: Request, resp: Response, object_id: str) -> None:
        """Let the authentication of an intent succeed, which charges it, or fail."""
        body = await _fields(req, {"succeed"})
        if not isinstance(body.get("succeed"), bool):
            raise _unprocessable("succeed must be true or false")
        intent = self._sandbox.store.payment_intents.get(object_id)
        if intent is None:
            raise falcon.HTTPNotFound(description=f"no payment intent {object_id}")
        if intent["status"] != "requires_action":
            raise falcon.HTTPConflict(description=f"the intent's status is {intent['status']}")
        # The cardholder acts in a browser: the events name a request, but no idempotency key.
        call = Call(self._sandbox, "POST", "/v1/payment_intents", self._sandbox.new_id("req"), object_id)
        changed = authorize(call, intent) if body["succeed"] else _fail_authentication(call, intent)
        _show(resp, View("payment_intent", changed, {}))


class Disputes:
    """The cardholder's bank."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def on_post(self, req: Request, resp: Response) -> None:
        """Open a dispute over a charge, or bring the one it has to another status."""
        body = await _fields(req, {"charge", "status", "reason"})
        status, reason = body.get("status", "needs_response"), body.get("reason", "fraudulent")
        if status not in STATUSES:
            raise _unprocessable(f"status must be one of {', '.join(STATUSES)}")
        if not isinstance(reason, str) or not isinstance(body.get("charge"), str):
            raise _unprocessable("charge must be a charge's id, and reason a word")
        charge = self._sandbox.store.charges.get(body["charge"])
        if charge is None:
            raise falcon.HTTPNotFound(description=f"no charge {body['charge']}")
        existing = self._sandbox.store.disputes.where("charge", charge["id"])
        try:
            if existing:
                dispute = move_dispute(self._sandbox, existing[-1], status)
            else:
                dispute = open_dispute(self._sandbox, charge, status, reason)
        except DisputeRefusedError as error:
            raise falcon.HTTPConflict(description=str(error)) from error
        _show(resp, View("dispute", dispute, {}))


class Redelivery:
    """The dashboard's button that sends an event again."""

    def __init__(self, sandbox: Sandbox, dispatcher: Dispatcher) -> None:
        self._sandbox = sandbox
        self._dispatcher = dispatcher

    async def on_post(self, req: Request, resp: Response, object_id: str) -> None:
        """Deliver an event once more."""
        event = self._sandbox.store.events.get(object_id)
        if event is None:
            raise falcon.HTTPNotFound(description=f"no event {object_id}")
        if not self._sandbox.config.webhook_url:
            raise falcon.HTTPConflict(description="the sandbox was started without a webhook URL")
        self._dispatcher.redeliver(event)
        resp.status = falcon.HTTP_202
        resp.text = encode_event(self._sandbox, event)


def add_routes(app: App, sandbox: Sandbox, dispatcher: Dispatcher) -> None:
    """Serve the control API."""
    app.add_route("/_sandbox/health", Health())
    app.add_route("/_sandbox/state", State(sandbox, dispatcher))
    app.add_route("/_sandbox/faults", FaultList(sandbox))
    app.add_route("/_sandbox/clock", Clock(sandbox))
    app.add_route("/_sandbox/payment_intents/{object_id}/authentication", Authentication(sandbox))
    app.add_route("/_sandbox/disputes", Disputes(sandbox))
    app.add_route("/_sandbox/events/{object_id}/redeliver", Redelivery(sandbox, dispatcher))


def _fail_authentication(call: Call, intent: Obj) -> Obj:
    message = (
        "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new"
        " PaymentMethod to attempt to fulfill this PaymentIntent again."
    )
    error = ApiError(
        400,
        "invalid_request_error",
        message,
        code="payment_intent_authentication_failure",
        payment_method=shown_payment_method(intent),
    )
    return fail_intent(call, intent, error.fields)


async def _body(req: Request) -> Any:
    raw = await req.stream.read(_LONGEST_BODY + 1)
    if len(raw) > _LONGEST_BODY:
        raise falcon.HTTPContentTooLarge
    try:
        return json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise falcon.HTTPBadRequest(title="Not JSON", description=str(error)) from error


async def _fields(req: Request, known: set[str]) -> dict[str, Any]:
    body = await _body(req)
    if not isinstance(body, dict) or body.keys() - known:
        raise _unprocessable(f"the body must be an object with no other fields than {', '.join(sorted(known))}")
    return body


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")


def _unprocessable(message: str) -> falcon.HTTPUnprocessableEntity:
    return falcon.HTTPUnprocessableEntity(title="Refused", description=message)


def _show(resp: Response, view: View) -> None:
    resp.content_type = falcon.MEDIA_JSON
    resp.text = view.encode()
