"""What happens when an intent is charged: it succeeds, is authorized, declined, or wants authentication."""

from typing import NoReturn

from ops.stripe_sandbox.cards import UNAUTHENTICATED, Card, find_card
from ops.stripe_sandbox.errors import ApiError
from ops.stripe_sandbox.faults import LATE_EFFECT
from ops.stripe_sandbox.money import charge_fee
from ops.stripe_sandbox.objects import TEMPLATES, Obj, View
from ops.stripe_sandbox.sandbox import Call, Sandbox

_COPIED = (
    "customer",
    "description",
    "on_behalf_of",
    "receipt_email",
    "transfer_group",
    "statement_descriptor_suffix",
)


def pay(call: Call, intent: Obj, *, off_session: bool = False, return_url: str | None = None) -> Obj:
    """Charge the intent's payment method and return the intent as it is then; a decline raises ApiError."""
    card = find_card(call.store.cards.get(intent["payment_method"])) or Card()
    if card.needs_authentication and off_session:
        decline(call, intent, UNAUTHENTICATED)
    if card.needs_authentication:
        return _require_authentication(call, intent, return_url)
    if card.error_code is not None:
        decline(call, intent, card)
    return authorize(call, intent, is_disputed=card.is_disputed)


def authorize(call: Call, intent: Obj, *, is_disputed: bool = False) -> Obj:
    """Make the successful charge of an intent, captured at once unless the intent says `manual`."""
    is_captured = intent["capture_method"] != "manual"
    amount_minor = intent["amount"]
    charge = _new_charge(call, intent)
    charge.update(
        amount_captured=amount_minor if is_captured else 0,
        captured=is_captured,
        paid=True,
        status="succeeded",
        balance_transaction=book_charge(call, charge["id"], amount_minor, intent) if is_captured else None,
    )
    call.store.charges.put(charge)
    call.emit("charge.succeeded", "charge", charge)
    if is_disputed:
        call.sandbox.schedule(call.sandbox.config.dispute_delay_s, "open_dispute", charge["id"])
    return _paid_intent(call, intent, charge)


def book_charge(call: Call, charge_id: str, amount_minor: int, intent: Obj) -> str | None:
    """Book captured money and return the balance transaction's id; None when it is ordered to come late."""
    faults = call.sandbox.faults
    if faults.active and (fault := faults.draw_call(LATE_EFFECT, call.method, call.path)):
        call.sandbox.schedule(fault.argument_ms / 1000, "book_late", charge_id)
        return None
    return book(
        call.sandbox,
        kind="charge",
        source=charge_id,
        amount_minor=amount_minor,
        fee_minor=charge_fee(amount_minor),
        currency=intent["currency"],
        description=intent.get("description"),
    )


def book(
    sandbox: Sandbox,
    *,
    kind: str,
    source: str,
    amount_minor: int,
    currency: str,
    fee_minor: int = 0,
    category: str = "",
    description: str | None = None,
) -> str:
    """Add a balance transaction and return its id; an amount below zero leaves the balance."""
    now = int(sandbox.now())
    transaction: Obj = {
        "id": sandbox.new_id("txn"),
        "amount": amount_minor,
        "available_on": now + sandbox.config.settlement_delay_s if kind == "charge" else now,
        "created": now,
        "currency": currency,
        "description": description,
        "fee": fee_minor,
        "net": amount_minor - fee_minor,
        "reporting_category": category or kind,
        "source": source,
        "status": "pending" if kind == "charge" else "available",
        "type": kind,
    }
    if fee_minor:
        transaction["fee_details"] = [_fee_detail(fee_minor, currency, category)]
    sandbox.store.balance_transactions.put(transaction)
    return str(transaction["id"])


def book_late(sandbox: Sandbox, charge_id: str) -> None:
    """Book a charge whose balance transaction was ordered to come late, and tell of it."""
    charge = sandbox.store.charges.get(charge_id)
    if charge is None or charge["balance_transaction"] is not None:
        return
    amount_minor = charge["amount_captured"]
    transaction_id = book(
        sandbox,
        kind="charge",
        source=charge_id,
        amount_minor=amount_minor,
        fee_minor=charge_fee(amount_minor),
        currency=charge["currency"],
        description=charge.get("description"),
    )
    charge = sandbox.store.charges.put({**charge, "balance_transaction": transaction_id})
    sandbox.emit("charge.updated", "charge", charge, None, {"balance_transaction": None})


def decline(call: Call, intent: Obj, card: Card) -> NoReturn:
    """Make the failed charge of an intent and raise the card error that tells of it."""
    charge = _new_charge(call, intent)
    outcome = {
        **TEMPLATES["charge"].defaults["outcome"],
        "advice_code": "try_again_later",
        "network_decline_code": "01",
        "network_status": "declined_by_network",
        "reason": card.decline_code or card.error_code,
        "seller_message": "The bank did not return any further details with this decline.",
        "type": "issuer_declined",
    }
    charge.update(
        failure_code=card.error_code,
        failure_message=card.message,
        outcome=outcome,
        paid=False,
        status="failed",
    )
    call.store.charges.put(charge)
    error = _card_error(card, charge, intent)
    failed = fail_intent(call, {**intent, "latest_charge": charge["id"]}, error.fields, charge)
    error.payment_intent = View("payment_intent", failed, {})
    raise error


def fail_intent(call: Call, intent: Obj, error: Obj, charge: Obj | None = None) -> Obj:
    """Send an intent back for another payment method, with the error that says why."""
    failed = call.store.payment_intents.put(
        {
            **intent,
            "last_payment_error": error,
            "next_action": None,
            "payment_method": None,
            "status": "requires_payment_method",
        }
    )
    if charge is not None:
        call.emit("charge.failed", "charge", charge)
    call.emit("payment_intent.payment_failed", "payment_intent", failed)
    return failed


def shown_payment_method(intent: Obj) -> Obj:
    """Return the payment method of an intent as errors show it."""
    template = TEMPLATES["payment_method"].defaults
    return {**template, "id": intent["payment_method"], "created": intent["created"]}


def _new_charge(call: Call, intent: Obj) -> Obj:
    charge: Obj = {
        "id": call.sandbox.new_id("ch"),
        "amount": intent["amount"],
        "created": int(call.sandbox.now()),
        "currency": intent["currency"],
        "metadata": intent["metadata"],
        "payment_intent": intent["id"],
        "payment_method": intent["payment_method"],
    }
    for name in _COPIED:
        if name in intent:
            charge[name] = intent[name]
    return charge


def _paid_intent(call: Call, intent: Obj, charge: Obj) -> Obj:
    changed = {**intent, "latest_charge": charge["id"], "next_action": None, "last_payment_error": None}
    if charge["captured"]:
        changed.update(amount_received=charge["amount_captured"], status="succeeded")
        event_type = "payment_intent.succeeded"
    else:
        changed.update(amount_capturable=charge["amount"], status="requires_capture")
        event_type = "payment_intent.amount_capturable_updated"
    call.store.payment_intents.put(changed)
    call.emit(event_type, "payment_intent", changed)
    return changed


def _require_authentication(call: Call, intent: Obj, return_url: str | None) -> Obj:
    if return_url:
        url = f"https://hooks.stripe.com/3d_secure_2/hosted?intent={intent['id']}"
        action = {"type": "redirect_to_url", "redirect_to_url": {"return_url": return_url, "url": url}}
    else:
        source = call.sandbox.new_id("src")
        details = {
            "type": "three_d_secure_redirect",
            "source": source,
            "stripe_js": "https://hooks.stripe.com/",
        }
        action = {"type": "use_stripe_sdk", "use_stripe_sdk": details}
    waiting = call.store.payment_intents.put({**intent, "next_action": action, "status": "requires_action"})
    call.emit("payment_intent.requires_action", "payment_intent", waiting)
    return waiting


def _card_error(card: Card, charge: Obj, intent: Obj) -> ApiError:
    more = {"charge": charge["id"], "payment_method": shown_payment_method(intent)}
    if card.decline_code is not None:
        more["decline_code"] = card.decline_code
    return ApiError(402, "card_error", card.message, code=card.error_code, kept=True, **more)


def _fee_detail(fee_minor: int, currency: str, category: str) -> Obj:
    description = "Dispute fee" if category.startswith("dispute") else "Stripe processing fees"
    return {
        "amount": fee_minor,
        "application": None,
        "currency": currency,
        "description": description,
        "type": "stripe_fee",
    }
