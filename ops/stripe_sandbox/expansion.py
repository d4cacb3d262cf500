"""The `expand` parameter (https://docs.stripe.com/api/expanding_objects)."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ops.stripe_sandbox.booking import as_of_now
from ops.stripe_sandbox.errors import invalid
from ops.stripe_sandbox.objects import Obj, View
from ops.stripe_sandbox.params import texts
from ops.stripe_sandbox.sandbox import Call
from ops.stripe_sandbox.store import Table

_DEEPEST = 4
# Per kind of object: which field names an object of which kind.
_REFERENCES = {
    "payment_intent": {"latest_charge": "charge"},
    "charge": {
        "balance_transaction": "balance_transaction",
        "failure_balance_transaction": "balance_transaction",
        "payment_intent": "payment_intent",
        "source_transfer": "transfer",
    },
    "refund": {
        "balance_transaction": "balance_transaction",
        "charge": "charge",
        "failure_balance_transaction": "balance_transaction",
        "payment_intent": "payment_intent",
    },
    "dispute": {"charge": "charge", "payment_intent": "payment_intent"},
    "transfer": {
        "balance_transaction": "balance_transaction",
        "destination": "account",
        "source_transaction": "charge",
    },
    "transfer_reversal": {"balance_transaction": "balance_transaction", "transfer": "transfer"},
    "payout": {
        "balance_transaction": "balance_transaction",
        "failure_balance_transaction": "balance_transaction",
        "original_payout": "payout",
        "reversed_by": "payout",
    },
    "balance_transaction": {"source": ""},
}
_OF_ANY = frozenset(name for references in _REFERENCES.values() for name in references)
# A balance transaction's source can be of several kinds; its id tells which.
_KIND_OF_PREFIX = {
    "ch": "charge",
    "dp": "dispute",
    "po": "payout",
    "py": "charge",
    "pyr": "refund",
    "re": "refund",
    "tr": "transfer",
    "trr": "transfer_reversal",
}


def view(call: Call, kind: str, fields: Obj, *, inside: str = "") -> View:
    """Return an object as the call wants it shown; `inside` is the prefix that lists ask for (`data.`)."""
    wanted = texts(call.params, "expand") if "expand" in call.params else ()
    if not wanted:
        return View(kind, fields, {})
    return _expanded(call, kind, fields, _plan(kind, tuple(wanted), inside))


Plan = Mapping[str, "Plan"]
"""What of an object is expanded, and what of that again."""


@lru_cache(maxsize=256)
def _plan(kind: str, wanted: tuple[str, ...], inside: str) -> Plan:
    """Return what the names in `expand` ask for, or refuse them."""
    plan: dict[str, Any] = {}
    for name in wanted:
        path = name.removeprefix(inside).split(".")
        if not name.startswith(inside) or len(path) > _DEEPEST:
            raise _cannot_expand(name)
        at, node = kind, plan
        for step in path:
            if step not in (_REFERENCES.get(at, {}) if at else _OF_ANY):
                raise _cannot_expand(step)
            at = _REFERENCES[at][step] if at else ""
            node = node.setdefault(step, {})
    return plan


def _expanded(call: Call, kind: str, fields: Obj, plan: Plan) -> View:
    shown = {}
    for name, deeper in plan.items():
        references = _REFERENCES.get(kind, {})
        if name not in references:
            raise _cannot_expand(name)
        object_id = fields.get(name)
        if object_id is not None:
            target = references[name] or _KIND_OF_PREFIX[object_id.partition("_")[0]]
            found = _find(call, target, object_id)
            if found is not None:
                # Of several kinds in one list, what only some have is expanded in those.
                known = (
                    deeper if references[name] else {each: deeper[each] for each in deeper if _has(target, each)}
                )
                shown[name] = _expanded(call, target, found, known)
    return View(kind, fields, shown)


def _has(kind: str, name: str) -> bool:
    return name in _REFERENCES.get(kind, {})


def _find(call: Call, kind: str, object_id: str) -> Obj | None:
    """Return an object of the calling account, or of the platform where accounts have none of its kind."""
    name = f"{kind}s"
    table: Table = getattr(call.books, name, None) or getattr(call.store, name)
    found = table.get(object_id)
    return as_of_now(call.sandbox, found) if found is not None and kind == "balance_transaction" else found


def _cannot_expand(name: str) -> Exception:
    return invalid(f"This property cannot be expanded ({name}).", "expand", "property_cannot_be_expanded")
