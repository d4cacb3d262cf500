"""The sandbox as one object: its clock, ids, tables, faults, timers and the events that it emits."""

import asyncio
import itertools
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ops.stripe_sandbox.config import Config
from ops.stripe_sandbox.faults import Faults
from ops.stripe_sandbox.forms import Params
from ops.stripe_sandbox.journal import Journal
from ops.stripe_sandbox.objects import TEMPLATES, Obj, dump
from ops.stripe_sandbox.store import Books, Store
from ops.stripe_sandbox.timers import Timer, Timers

API_VERSION = "2026-10-28.endive"


class Sandbox:
    """The state that all calls share; calls run one after the other, so each is atomic."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.faults = Faults()
        self.journal = Journal(config.journal_path)
        self.store = Store(self.journal.note)
        self.timers = Timers(self.store.timers)
        self.on_event: Callable[[Obj, Call | None], None] | None = None
        """Called with each event whose type is delivered, and the API call that caused it."""
        self._delivers: dict[str, bool] = {}
        self._sleepers: dict[asyncio.Future[None], float] = {}
        # PERF: ids are unlike those of every other run, and count; drawing each at random takes twice as long.
        self._run = secrets.token_hex(8)
        self._ids = itertools.count(1)

    def now(self) -> float:
        """Return the sandbox's time: the real one and the offset that was set."""
        return time.time() + float(self.store.settings.get("offset_s") or 0)

    def new_id(self, prefix: str) -> str:
        """Return a new id with Stripe's prefix of its kind."""
        return f"{prefix}_3{self._run}{next(self._ids):08x}"

    def emit(
        self,
        event_type: str,
        kind: str,
        fields: Obj,
        origin: "Call | None" = None,
        previous: Obj | None = None,
        *,
        account: str = "",
    ) -> None:
        """Record that something happened to an object, and hand the event to the webhook dispatcher.

        `origin` is the API call that caused it (None: it happened by itself); `previous` holds the old
        values of an update; `account` is the connected account that the object belongs to.
        """
        request = (origin.request_id, origin.idempotency_key) if origin else (None, None)
        event: Obj = {
            "id": self.new_id("evt"),
            "created": int(self.now()),
            "type": event_type,
            "data": (kind, fields, previous),
            "request": request,
        }
        if account:
            event["account"] = account
        self.store.events.put(event)
        delivers = self._delivers.get(event_type)
        if delivers is None:
            delivers = self._delivers[event_type] = self.config.delivers(event_type)
        if delivers and self.on_event is not None:
            self.store.deliveries.put(event["id"], event_type)
            self.on_event(event, origin)

    def schedule(self, delay_s: float, action: str, subject: str) -> None:
        """Let an action happen to an object by itself, after a time of the sandbox's clock."""
        self.timers.add(self.new_id("timer"), Timer(self.now() + delay_s, action, subject))

    async def sleep(self, seconds: float) -> None:
        """Wait for that long; for less where the sandbox's clock is put forward meanwhile."""
        woken = asyncio.get_running_loop().create_future()
        self._sleepers[woken] = self.now() + seconds
        try:
            await asyncio.wait([woken], timeout=seconds)
        finally:
            del self._sleepers[woken]

    def wake(self) -> None:
        """Let go on who has slept long enough by the sandbox's clock."""
        now = self.now()
        for woken, due in self._sleepers.items():
            if due <= now and not woken.done():
                woken.set_result(None)

    def reset(self) -> None:
        """Forget every object, key, timer, delivery and fault, and set the clock right."""
        self.store.clear()
        self.timers.clear()
        self.faults.clear()
        self.journal.truncate()


@dataclass(slots=True)
class Call:
    """One API call: what was asked, and the sandbox that answers."""

    sandbox: Sandbox
    method: str
    path: str
    request_id: str
    object_id: str = ""
    part_id: str = ""
    account: str = ""
    """The connected account on whose behalf the call is made (the header `Stripe-Account`)."""
    host: str = ""
    idempotency_key: str | None = None
    fingerprint: bytes = b""
    """A digest of the parameters, where there is an idempotency key."""
    params: Params = field(default_factory=dict)

    @property
    def store(self) -> Store:
        """Return the sandbox's tables."""
        return self.sandbox.store

    @property
    def scoped_key(self) -> str:
        """Return the idempotency key within its account: each has keys of its own."""
        key = self.idempotency_key or ""
        return f"{self.account}:{key}" if self.account else key

    @property
    def books(self) -> Books:
        """Return the tables of the account on whose behalf the call is made."""
        return self.sandbox.store.books_of(self.account)

    def emit(
        self, event_type: str, kind: str, fields: Obj, previous: Obj | None = None, *, account: str = ""
    ) -> None:
        """Record an event that this call caused."""
        self.sandbox.emit(event_type, kind, fields, self, previous, account=account)


def encode_event(sandbox: Sandbox, event: Obj) -> str:
    """Return an event's JSON; its object is as it was when the event happened."""
    kind, fields, previous = event["data"]
    request_id, key = event["request"]
    changed = "" if previous is None else f',"previous_attributes":{dump(previous)}'
    account = f'"account":{dump(event["account"])},' if "account" in event else ""
    pending = 1 if sandbox.store.deliveries.get(event["id"]) is not None else 0
    return (
        f'{{"id":"{event["id"]}","object":"event",{account}"api_version":"{API_VERSION}","created":{event["created"]},'
        f'"data":{{"object":{TEMPLATES[kind].encode(fields, {})}{changed}}},"livemode":false,'
        f'"pending_webhooks":{pending},"request":{{"id":{dump(request_id)},"idempotency_key":{dump(key)}}},'
        f'"type":"{event["type"]}"}}'
    )
