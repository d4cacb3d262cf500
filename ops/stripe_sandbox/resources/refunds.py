"""Refunds (https://docs.stripe.com/api/refunds)."""

from ops.stripe_sandbox.booking import book, settled_like
from ops.stripe_sandbox.cards import PLAIN, Card, find_card
from ops.stripe_sandbox.errors import invalid, no_such, refused
from ops.stripe_sandbox.expansion import view
from ops.stripe_sandbox.listing import page
from ops.stripe_sandbox.money import check_step, written
from ops.stripe_sandbox.objects import Obj, Page, View
from ops.stripe_sandbox.params import check_known, choice, integer, metadata, text
from ops.stripe_sandbox.sandbox import Call, Sandbox

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
STATUSES = ("succeeded", "failed")


class RefundRefusedError(ValueError):
    """The refund cannot be brought to that status; the message says why."""


def create(call: Call) -> View:
    """Give money back: all that is left of a charge, or a part of it."""
    params = call.params
    check_known(params, _CREATE)
    charge = _charge_to_refund(call)
    reason = choice(params, "reason", _REASONS, "") if "reason" in params else None
    values = metadata(params, {})
    amount_minor = _amount_to_refund(call, charge)
    outcome = _card_of(call, charge).refund
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
    if outcome == "succeeded":
        refund["status"] = "pending"
    refund["balance_transaction"] = _book(call.sandbox, refund, charge, -amount_minor, "refund")
    call.store.refunds.put(refund)
    _reduce(call, charge, amount_minor)
    call.emit("refund.created", "refund", refund)
    if outcome is not None:
        call.sandbox.schedule(call.sandbox.config.refund_delay_s, f"refund_{outcome}", refund["id"])
    return view(call, "refund", refund)


def move_refund(sandbox: Sandbox, refund: Obj, status: str) -> Obj:
    """Let a refund succeed that is pending, or fail, also after it had succeeded: the money comes back."""
    old = refund.get("status", "succeeded")
    if status == old:
        return refund
    if old == "failed" or status not in STATUSES:
        raise RefundRefusedError(f"refund {refund['id']} is {old} and cannot become {status}")
    if refund["balance_transaction"] is None:
        raise RefundRefusedError(f"refund {refund['id']} lets go what was not captured, and moved no money")
    moved = {**refund, "status": status}
    if status == "failed":
        charge = sandbox.store.charges.get(refund["charge"])
        assert charge is not None  # noqa: S101 - a refund is of a charge
        moved["failure_reason"] = "expired_or_canceled_card"
        moved["failure_balance_transaction"] = _book(sandbox, refund, charge, refund["amount"], "refund_failure")
        refunded_minor = charge["amount_refunded"] - refund["amount"]
        sandbox.store.charges.put({**charge, "amount_refunded": refunded_minor, "refunded": False})
    sandbox.store.refunds.put(moved)
    previous = {"status": old}
    sandbox.emit("charge.refund.updated", "refund", moved, None, previous)
    sandbox.emit("refund.updated", "refund", moved, None, previous)
    if status == "failed":
        sandbox.emit("refund.failed", "refund", moved)
    return moved


def succeed_late(sandbox: Sandbox, refund_id: str) -> None:
    """Let the refund of `pm_card_pendingRefund` succeed."""
    _move_pending(sandbox, refund_id, "succeeded")


def fail_late(sandbox: Sandbox, refund_id: str) -> None:
    """Let the refund of `pm_card_refundFail` fail."""
    _move_pending(sandbox, refund_id, "failed")


def update(call: Call) -> View:
    """Change a refund's metadata."""
    check_known(call.params, ("metadata", "expand"))
    refund = _get(call)
    changed = call.store.refunds.put({**refund, "metadata": metadata(call.params, refund["metadata"])})
    call.emit("refund.updated", "refund", changed, {"metadata": refund["metadata"]})
    return view(call, "refund", changed)


def retrieve(call: Call) -> View:
    """Return a refund."""
    check_known(call.params, ("expand",))
    return view(call, "refund", _get(call))


def list_all(call: Call) -> Page:
    """Return a page of refunds, filtered by creation time, charge and intent."""

    def encode(row: Obj) -> str:
        return view(call, "refund", row, inside="data.").encode()

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
        raise refused(message, "charge_not_refundable", "payment_intent" if intent_id else "charge")
    return charge


def _amount_to_refund(call: Call, charge: Obj) -> int:
    left = charge["amount"] - charge.get("amount_refunded", 0)
    if left == 0:
        raise refused(f"Charge {charge['id']} has already been refunded.", "charge_already_refunded", None)
    if _is_charged_back(call, charge):
        message = f"Charge {charge['id']} has been charged back; cannot issue a refund."
        raise refused(message, "charge_disputed", None)
    amount_minor = integer(call.params, "amount", left, least=1)
    check_step(amount_minor, charge["currency"])
    if amount_minor > left:
        currency = charge["currency"]
        message = (
            f"Refund amount ({written(amount_minor, currency)}) is greater than unrefunded amount on charge"
            f" ({written(left, currency)})"
        )
        raise refused(message, "amount_too_large", "amount")
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


def _card_of(call: Call, charge: Obj) -> Card:
    return find_card(call.store.cards.get(charge["payment_method"])) or PLAIN


def _book(sandbox: Sandbox, refund: Obj, charge: Obj, amount_minor: int, kind: str) -> str:
    moved_minor, currency, exchange_rate = settled_like(sandbox, amount_minor, charge)
    return book(
        sandbox,
        kind=kind,
        source=refund["id"],
        amount_minor=moved_minor,
        currency=currency,
        description="REFUND FOR CHARGE" if kind == "refund" else "REFUND FAILURE",
        exchange_rate=exchange_rate,
    )


def _move_pending(sandbox: Sandbox, refund_id: str, status: str) -> None:
    refund = sandbox.store.refunds.get(refund_id)
    if refund is not None and refund.get("status") != "failed":
        move_refund(sandbox, refund, status)


ROUTES = {
    "/v1/refunds": {"POST": create, "GET": list_all},
    "/v1/refunds/{object_id}": {"GET": retrieve, "POST": update},
}
