"""Refunds (https://docs.stripe.com/api/refunds)."""

from ops.stripe_sandbox.charging import book
from ops.stripe_sandbox.errors import ApiError, invalid, no_such
from ops.stripe_sandbox.expansion import view
from ops.stripe_sandbox.listing import page
from ops.stripe_sandbox.money import written
from ops.stripe_sandbox.objects import Obj, Page, View
from ops.stripe_sandbox.params import check_known, choice, integer, metadata, text
from ops.stripe_sandbox.sandbox import Call

_CREATE = (
    "amount",
    "charge",
    "currency",
    "expand",
    "instructions_email",
    "metadata",
    "payment_intent",
    "reason",
    "refund_application_fee",
    "reverse_transfer",
)
_REASONS = ("duplicate", "fraudulent", "requested_by_customer")


def create(call: Call) -> View:
    """Give money back: all that is left of a charge, or a part of it."""
    params = call.params
    check_known(params, _CREATE)
    charge = _charge_to_refund(call)
    reason = choice(params, "reason", _REASONS, "") if "reason" in params else None
    values = metadata(params, {})
    amount_minor = _amount_to_refund(call, charge)
    refund: Obj = {
        "id": call.sandbox.new_id("re"),
        "amount": amount_minor,
        "charge": charge["id"],
        "created": int(call.sandbox.now()),
        "currency": charge["currency"],
        "metadata": values,
        "payment_intent": charge["payment_intent"],
        "reason": reason,
    }
    refund["balance_transaction"] = book(
        call.sandbox,
        kind="refund",
        source=refund["id"],
        amount_minor=-amount_minor,
        currency=refund["currency"],
        description="REFUND FOR CHARGE",
    )
    call.store.refunds.put(refund)
    _reduce(call, charge, amount_minor)
    call.emit("refund.created", "refund", refund)
    return view(call.store, "refund", refund, params)


def update(call: Call) -> View:
    """Change a refund's metadata."""
    check_known(call.params, ("metadata", "expand"))
    refund = _get(call)
    changed = call.store.refunds.put({**refund, "metadata": metadata(call.params, refund["metadata"])})
    call.emit("refund.updated", "refund", changed, {"metadata": refund["metadata"]})
    return view(call.store, "refund", changed, call.params)


def retrieve(call: Call) -> View:
    """Return a refund."""
    check_known(call.params, ("expand",))
    return view(call.store, "refund", _get(call), call.params)


def list_all(call: Call) -> Page:
    """Return a page of refunds, filtered by creation time, charge and intent."""

    def encode(row: Obj) -> str:
        return view(call.store, "refund", row, call.params, inside="data.").encode()

    return page(call.store.refunds, call.params, call.path, encode, filters=("charge", "payment_intent"))


def _get(call: Call) -> Obj:
    refund = call.store.refunds.get(call.object_id)
    if refund is None:
        raise no_such("refund", call.object_id)
    return refund


def _charge_to_refund(call: Call) -> Obj:
    charge_id, intent_id = text(call.params, "charge"), text(call.params, "payment_intent")
    if charge_id is None and intent_id is None:
        message = "One of the following params should be provided for this request: payment_intent or charge."
        raise invalid(message, code="parameter_missing")
    if charge_id is not None and intent_id is not None:
        raise invalid("You may only specify one of these parameters: charge, payment_intent.")
    if intent_id is not None:
        intent = call.store.payment_intents.get(intent_id)
        if intent is None:
            raise no_such("payment_intent", intent_id, param="payment_intent")
        charge_id = intent["latest_charge"]
    charge = call.store.charges.get(charge_id or "")
    if charge_id is not None and charge is None:
        raise no_such("charge", charge_id, param="charge")
    if charge is None or charge["status"] != "succeeded" or not charge.get("captured"):
        message = f"This PaymentIntent ({intent_id or charge_id}) does not have a successful charge to refund."
        raise _refused(message, "charge_not_refundable", "payment_intent" if intent_id else "charge")
    return charge


def _amount_to_refund(call: Call, charge: Obj) -> int:
    left = charge["amount"] - charge.get("amount_refunded", 0)
    if left == 0:
        raise _refused(f"Charge {charge['id']} has already been refunded.", "charge_already_refunded", None)
    if _is_charged_back(call, charge):
        message = f"Charge {charge['id']} has been charged back; cannot issue a refund."
        raise _refused(message, "charge_disputed", None)
    amount_minor = integer(call.params, "amount", left, least=1)
    if amount_minor > left:
        currency = charge["currency"]
        message = (
            f"Refund amount ({written(amount_minor, currency)}) is greater than unrefunded amount on charge"
            f" ({written(left, currency)})"
        )
        raise _refused(message, "amount_too_large", "amount")
    return amount_minor


def _is_charged_back(call: Call, charge: Obj) -> bool:
    """Tell whether a dispute holds the money; an inquiry holds none, and a won dispute gave it back."""
    disputes = call.store.disputes.where("charge", charge["id"])
    return any(not each["status"].startswith("warning_") and each["status"] != "won" for each in disputes)


def _reduce(call: Call, charge: Obj, amount_minor: int) -> None:
    refunded = charge.get("amount_refunded", 0) + amount_minor
    changed = {**charge, "amount_refunded": refunded, "refunded": refunded == charge["amount"]}
    call.store.charges.put(changed)
    previous = {"amount_refunded": charge.get("amount_refunded", 0), "refunded": False}
    call.emit("charge.refunded", "charge", changed, previous)


def _refused(message: str, code: str, param: str | None) -> ApiError:
    return ApiError(400, "invalid_request_error", message, code=code, param=param, kept=True)


ROUTES = {
    "/v1/refunds": {"POST": create, "GET": list_all},
    "/v1/refunds/{object_id}": {"GET": retrieve, "POST": update},
}
