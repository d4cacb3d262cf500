"""What becomes of an authorization: it is captured, released or expires."""

from ops.stripe_sandbox.charging import book_charge
from ops.stripe_sandbox.objects import Obj
from ops.stripe_sandbox.sandbox import Call, Sandbox


def take(call: Call, intent: Obj, amount_minor: int) -> Obj:
    """Take the money of an authorized intent, or a part of it, and return the intent; the rest is released."""
    charge = _charge_of(call.sandbox, intent)
    charge = {
        **charge,
        "amount_captured": amount_minor,
        "amount_refunded": charge["amount"] - amount_minor,
        "captured": True,
        "balance_transaction": book_charge(call, charge["id"], amount_minor, intent),
    }
    call.store.charges.put(charge)
    call.emit("charge.captured", "charge", charge)
    if amount_minor < charge["amount"]:
        _release(call.sandbox, charge, charge["amount"] - amount_minor, None, call)
    captured = {**intent, "amount_capturable": 0, "amount_received": amount_minor, "status": "succeeded"}
    call.store.payment_intents.put(captured)
    call.emit("payment_intent.succeeded", "payment_intent", captured)
    return captured


def cancel(sandbox: Sandbox, intent: Obj, reason: str | None, call: Call | None = None) -> Obj:
    """End an intent that has not succeeded and return it; an authorization is released.

    Without a call Stripe does it by itself, because the authorization has expired.
    """
    if intent["status"] == "requires_capture":
        charge = _charge_of(sandbox, intent)
        released = sandbox.store.charges.put({**charge, "amount_refunded": charge["amount"], "refunded": True})
        _release(sandbox, charge, charge["amount"], None if call else "expired_uncaptured_charge", call)
        sandbox.emit("charge.refunded" if call else "charge.expired", "charge", released, call)
    canceled = {
        **intent,
        "amount_capturable": 0,
        "canceled_at": int(sandbox.now()),
        "cancellation_reason": reason,
        "next_action": None,
        "status": "canceled",
    }
    sandbox.store.payment_intents.put(canceled)
    sandbox.emit("payment_intent.canceled", "payment_intent", canceled, call)
    return canceled


def expire_authorization(sandbox: Sandbox, intent_id: str) -> None:
    """Cancel an intent that nobody has captured in time."""
    intent = sandbox.store.payment_intents.get(intent_id)
    if intent is not None and intent["status"] == "requires_capture":
        cancel(sandbox, intent, "automatic")


def _release(sandbox: Sandbox, charge: Obj, amount_minor: int, reason: str | None, call: Call | None) -> None:
    """Let go what is not captured, as a refund without a balance transaction.

    After a partial capture Stripe may also move the whole authorization in and the rest out again, by a movement
    of the category `partial_capture_reversal`; here what is captured moves alone.
    """
    refund: Obj = {
        "id": sandbox.new_id("re"),
        "amount": amount_minor,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": int(sandbox.now()),
        "currency": charge["currency"],
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "reason": reason,
    }
    sandbox.store.refunds.put(refund)
    sandbox.emit("refund.created", "refund", refund, call)


def _charge_of(sandbox: Sandbox, intent: Obj) -> Obj:
    charge = sandbox.store.charges.get(intent["latest_charge"])
    assert charge is not None  # noqa: S101 - an intent that requires capture has a charge
    return charge
