"""The control API under `/_sandbox`: the truth, faults, the clock and the events."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import falcon
import falcon.asgi

from ops.stripe_sandbox.actions import act
from ops.stripe_sandbox.bodies import Request, Response, read_body, read_fields, unprocessable
from ops.stripe_sandbox.booking import as_of_now
from ops.stripe_sandbox.faults import FaultRefusedError, parse_fault
from ops.stripe_sandbox.objects import TEMPLATES, Obj, dump, whole
from ops.stripe_sandbox.resources.balance_transactions import balance
from ops.stripe_sandbox.sandbox import Sandbox, encode_event
from ops.stripe_sandbox.webhooks import Dispatcher

_LONGEST_OFFSET_S = 10 * 366 * 24 * 3600
_CHUNK = 200
_KINDS = (
    "payment_intent",
    "charge",
    "refund",
    "balance_transaction",
    "dispute",
    "account",
    "transfer",
    "transfer_reversal",
)
App = Any


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
        """Return every object in the order of creation; `?compact=true` leaves the constant fields out.

        `payouts` are those of all accounts; `connected` holds the balance of each connected account. `refunds` are
        those that moved money; `releases` let go what was not captured, though Stripe lists them as refunds too.
        """
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
        store = self._sandbox.store
        books = {row["id"]: store.books_of(row["id"]) for row in store.accounts.rows}
        kinds = {kind: list(getattr(store, f"{kind}s").rows) for kind in _KINDS}
        kinds["payout"] = [row for each in (store, *books.values()) for row in each.payouts.rows]
        kinds["release"] = [row for row in kinds["refund"] if row["balance_transaction"] is None]
        kinds["refund"] = [row for row in kinds["refund"] if row["balance_transaction"] is not None]
        connected = [(account, each.balance_transactions.rows[:]) for account, each in books.items()]
        yield b"{"
        async for chunk in self._members(kinds, is_compact=is_compact):
            yield chunk
        yield b'"connected":{'
        for index, (account, rows) in enumerate(connected):
            own = dump(whole("balance", balance(self._sandbox, account)))
            yield f'{"," if index else ""}"{account}":{{"balance":{own},'.encode()
            texts = self._texts("balance_transaction", rows, is_compact=is_compact)
            yield f'"balance_transactions":[{texts}]}}'.encode()
            await asyncio.sleep(0)  # the API calls that came meanwhile
        yield b"}," + summary[1:].encode()

    async def _members(self, kinds: dict[str, list[Obj]], *, is_compact: bool) -> AsyncIterator[bytes]:
        for kind, rows in kinds.items():
            yield f'"{kind}s":['.encode()
            for start in range(0, len(rows), _CHUNK):
                comma = "," if start else ""
                yield (comma + self._texts(kind, rows[start : start + _CHUNK], is_compact=is_compact)).encode()
                await asyncio.sleep(0)  # the API calls that came meanwhile
            yield b"],"

    def _texts(self, kind: str, rows: list[Obj], *, is_compact: bool) -> str:
        if kind == "balance_transaction":
            rows = [as_of_now(self._sandbox, row) for row in rows]
        template = TEMPLATES["refund" if kind == "release" else kind]
        return ",".join(dump(row) if is_compact else template.encode(row, {}) for row in rows)

    def _summary(self) -> Obj:
        store, dispatcher = self._sandbox.store, self._dispatcher
        return {
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
            fault = parse_fault(await read_body(req))
        except FaultRefusedError as error:
            raise unprocessable(str(error)) from error
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
        """Set the offset, in place of an earlier one; what is due then has happened when this answers.

        So have calls arrived that were delayed, and take no longer by this clock.
        """
        body = await read_fields(req, {"offset_s"})
        offset_s = body.get("offset_s")
        if isinstance(offset_s, bool) or not isinstance(offset_s, int | float):
            raise unprocessable("offset_s must be a number of seconds")
        if not -_LONGEST_OFFSET_S <= offset_s <= _LONGEST_OFFSET_S:
            raise unprocessable("offset_s must be within ten years")
        self._sandbox.store.settings.put("offset_s", offset_s)
        self._sandbox.wake()
        await asyncio.sleep(0)  # whom that woke
        act(self._sandbox)
        await self.on_get(req, resp)


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
    app.add_route("/_sandbox/events/{object_id}/redeliver", Redelivery(sandbox, dispatcher))
