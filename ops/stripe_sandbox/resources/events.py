"""Events (https://docs.stripe.com/api/events): everything that happened, also what no webhook brought.

What happened to a connected account is among that one's events, and not among the platform's.
"""

from functools import partial

from ops.stripe_sandbox.config import matches
from ops.stripe_sandbox.errors import no_such
from ops.stripe_sandbox.listing import page
from ops.stripe_sandbox.objects import Obj, Page
from ops.stripe_sandbox.params import check_known, text, texts
from ops.stripe_sandbox.sandbox import Call, encode_event


def retrieve(call: Call) -> str:
    """Return an event."""
    check_known(call.params, ("expand",))
    event = call.store.events.get(call.object_id)
    if event is None or not _is_own(call, event):
        raise no_such("event", call.object_id)
    return encode_event(call.sandbox, event)


def list_all(call: Call) -> Page:
    """Return a page of events, filtered by creation time and type (`charge.*` names several)."""
    patterns = texts(call.params, "types")
    one = text(call.params, "type")
    if one is not None:
        patterns = [one]

    def accept(row: Obj) -> bool:
        return _is_own(call, row) and (not patterns or any(matches(row["type"], pattern) for pattern in patterns))

    encode = partial(encode_event, call.sandbox)
    return page(call.store.events, call.params, call.path, encode, accept=accept, accepted=("type", "types"))


def _is_own(call: Call, event: Obj) -> bool:
    return bool(event.get("account", "") == call.account)


ROUTES = {
    "/v1/events": {"GET": list_all},
    "/v1/events/{object_id}": {"GET": retrieve},
}
