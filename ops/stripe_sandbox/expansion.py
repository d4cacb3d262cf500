"""The `expand` parameter (https://docs.stripe.com/api/expanding_objects)."""

from ops.stripe_sandbox.errors import invalid
from ops.stripe_sandbox.forms import Params
from ops.stripe_sandbox.objects import Obj, View
from ops.stripe_sandbox.params import texts
from ops.stripe_sandbox.store import Store, Table

_DEEPEST = 4
# Per kind of object: which field names an object of which kind.
_REFERENCES = {
    "payment_intent": {"latest_charge": "charge"},
    "charge": {
        "balance_transaction": "balance_transaction",
        "failure_balance_transaction": "balance_transaction",
        "payment_intent": "payment_intent",
    },
    "refund": {
        "balance_transaction": "balance_transaction",
        "charge": "charge",
        "payment_intent": "payment_intent",
    },
    "dispute": {"charge": "charge", "payment_intent": "payment_intent"},
    "balance_transaction": {"source": ""},
}
# A balance transaction's source can be of several kinds; its id tells which.
_KIND_OF_PREFIX = {"ch": "charge", "re": "refund", "dp": "dispute"}


def view(store: Store, kind: str, fields: Obj, params: Params, *, inside: str = "") -> View:
    """Return an object as the call wants it shown; `inside` is the prefix that lists ask for (`data.`)."""
    wanted = texts(params, "expand") if "expand" in params else ()
    if not wanted:
        return View(kind, fields, {})
    paths = []
    for name in wanted:
        path = name.removeprefix(inside).split(".")
        if not name.startswith(inside) or len(path) > _DEEPEST:
            raise _cannot_expand(name)
        paths.append(path)
    return _expanded(store, kind, fields, paths)


def _expanded(store: Store, kind: str, fields: Obj, paths: list[list[str]]) -> View:
    nested: dict[str, list[list[str]]] = {}
    for head, *rest in paths:
        if head not in _REFERENCES.get(kind, {}):
            raise _cannot_expand(head)
        deeper = nested.setdefault(head, [])
        if rest:
            deeper.append(rest)
    shown = {}
    for name, deeper in nested.items():
        object_id = fields.get(name)
        if object_id is not None:
            target = _REFERENCES[kind][name] or _KIND_OF_PREFIX[object_id.partition("_")[0]]
            found = table(store, target).get(object_id)
            if found is not None:
                shown[name] = _expanded(store, target, found, deeper)
    return View(kind, fields, shown)


def table(store: Store, kind: str) -> Table:
    """Return the table of a kind of objects."""
    found = getattr(store, f"{kind}s")
    assert isinstance(found, Table)  # noqa: S101 - kinds are named after their tables
    return found


def _cannot_expand(name: str) -> Exception:
    return invalid(f"This property cannot be expanded ({name}).", "expand", "property_cannot_be_expanded")
