"""What happens when an intent is charged: it succeeds, is authorized, declined, or wants authentication."""

from typing import NoReturn

from ops.stripe_sandbox.booking import book, settled
from ops.stripe_sandbox.cards import PLAIN, UNAUTHENTICATED, Card, find_card
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
    card = _card_of(call.sandbox, intent["payment_method"])
    if card.needs_authentication and off_session:
        decline(call, intent, UNAUTHENTICATED)
    if card.needs_authentication:
        return _require_authentication(call, intent, return_url)
    if card.error_code is not None:
        decline(call, intent, card)
    return authorize(call, intent, card)


def authorize(call: Call, intent: Obj, card: Card = PLAIN) -> Obj:
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
    if not is_captured:
        _expect_capture(call, charge)
    call.store.charges.put(charge)
    call.emit("charge.succeeded", "charge", charge)
    if card.dispute is not None:
        call.sandbox.schedule(call.sandbox.config.dispute_delay_s, "open_dispute", charge["id"])
    return _paid_intent(call, intent, charge)


def book_charge(call: Call, charge_id: str, amount_minor: int, intent: Obj) -> str | None:
    """Book captured money and return the balance transaction's id; None when it is ordered to come late."""
    faults = call.sandbox.faults
    if faults.active and (fault := faults.draw_call(LATE_EFFECT, call.method, call.path)):
        call.sandbox.schedule(fault.argument_ms / 1000, "book_late", charge_id)
        return None
    card = _card_of(call.sandbox, intent["payment_method"])
    return _book(call.sandbox, charge_id, amount_minor, intent, is_available=card.is_available_at_once)


def book_late(sandbox: Sandbox, charge_id: str) -> None:
    """Book a charge whose balance transaction was ordered to come late, and tell of it."""
    charge = sandbox.store.charges.get(charge_id)
    if charge is None or charge["balance_transaction"] is not None:
        return
    card = _card_of(sandbox, charge["payment_method"])
    transaction_id = _book(
        sandbox, charge_id, charge["amount_captured"], charge, is_available=card.is_available_at_once
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


def _card_of(sandbox: Sandbox, payment_method: str) -> Card:
    return find_card(sandbox.store.cards.get(payment_method)) or PLAIN


def _book(sandbox: Sandbox, charge_id: str, amount_minor: int, paid: Obj, *, is_available: bool) -> str:
    held_minor, currency, exchange_rate = settled(sandbox, amount_minor, paid["currency"])
    delay_s = 0 if is_available else sandbox.config.settlement_delay_s
    return book(
        sandbox,
        kind="charge",
        source=charge_id,
        amount_minor=held_minor,
        fee_minor=charge_fee(held_minor),
        currency=currency,
        description=paid.get("description"),
        available_on=int(sandbox.now()) + delay_s,
        exchange_rate=exchange_rate,
    )


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


def _expect_capture(call: Call, charge: Obj) -> None:
    """Let the authorization end by itself (https://docs.stripe.com/payments/place-a-hold-on-a-payment-method)."""
    config = call.sandbox.config
    details = TEMPLATES["charge"].defaults["payment_method_details"]
    capture_before = charge["created"] + config.authorization_s
    charge["payment_method_details"] = {**details, "card": {**details["card"], "capture_before": capture_before}}
    call.sandbox.schedule(config.authorization_s, "expire_authorization", charge["payment_intent"])


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
