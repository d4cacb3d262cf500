"""The parameters that make or change an intent, checked and read."""

import secrets

from ops.stripe_sandbox.cards import find_card
from ops.stripe_sandbox.errors import invalid, no_such
from ops.stripe_sandbox.money import check_amount, check_currency
from ops.stripe_sandbox.objects import Obj
from ops.stripe_sandbox.params import choice, integer, metadata, required, text, texts
from ops.stripe_sandbox.sandbox import Call

_STORED_TEXTS = (
    "customer",
    "description",
    "on_behalf_of",
    "receipt_email",
    "setup_future_usage",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_group",
)
_STORED_OBJECTS = ("shipping", "transfer_data")
CHANGE = frozenset(
    {
        *_STORED_TEXTS,
        *_STORED_OBJECTS,
        "amount",
        "amount_details",
        "application_fee_amount",
        "capture_method",
        "currency",
        "expand",
        "metadata",
        "payment_details",
        "payment_method",
        "payment_method_options",
        "payment_method_types",
    }
)
_ON_CONFIRM = frozenset(
    {
        "confirmation_token",
        "error_on_requires_action",
        "mandate",
        "mandate_data",
        "off_session",
        "radar_options",
        "return_url",
        "setup_future_usage",
        "use_stripe_sdk",
    }
)
CREATE = CHANGE | _ON_CONFIRM | {"confirm", "confirmation_method", "automatic_payment_methods"}
CONFIRM = _ON_CONFIRM | {
    "payment_method",
    "expand",
    "capture_method",
    "payment_method_types",
    "payment_method_options",
    "receipt_email",
    "shipping",
    "amount_to_confirm",
}
CAPTURE_METHODS = ("automatic", "automatic_async", "manual")


def new_intent(call: Call) -> Obj:
    """Return the intent that the parameters describe; it is not stored yet."""
    params = call.params
    required(params, "amount")
    amount_minor = integer(params, "amount", 0, least=1)
    currency = check_currency(required(params, "currency"))
    check_amount(amount_minor, currency)
    intent_id = call.sandbox.new_id("pi")
    stored = stored_fields(call)
    values = metadata(params, {})
    payment_method = attach_payment_method(call)
    return {
        "id": intent_id,
        "amount": amount_minor,
        "capture_method": choice(params, "capture_method", CAPTURE_METHODS, "automatic"),
        "client_secret": f"{intent_id}_secret_{secrets.token_hex(12)}",
        "confirmation_method": choice(params, "confirmation_method", ("automatic", "manual"), "automatic"),
        "created": int(call.sandbox.now()),
        "currency": currency,
        "latest_charge": None,
        "metadata": values,
        "payment_method": payment_method,
        "status": "requires_confirmation" if payment_method else "requires_payment_method",
        **stored,
    }


def stored_fields(call: Call) -> Obj:
    """Return the given parameters that an intent keeps as they are."""
    params = call.params
    stored: Obj = {name: text(params, name) for name in _STORED_TEXTS if name in params}
    for name in _STORED_OBJECTS:
        if name in params:
            stored[name] = params[name] or None
    if "application_fee_amount" in params:
        stored["application_fee_amount"] = integer(params, "application_fee_amount", 0)
    return stored


def attach_payment_method(call: Call) -> str | None:
    """Return the id of a new payment method that behaves as the given test card; None if none is given."""
    name = text(call.params, "payment_method")
    if name is None:
        return None
    known = call.store.cards.get(name)
    if known is None and find_card(name) is None:
        raise no_such("PaymentMethod", name, param="payment_method", status=400)
    if known is not None:
        return name
    payment_method = call.sandbox.new_id("pm")
    call.store.cards.put(payment_method, name)
    return payment_method


def check_payment_methods(call: Call, *, confirms: bool) -> None:
    """Refuse kinds of payment methods that the sandbox does not have, or that would need a return URL."""
    kinds = texts(call.params, "payment_method_types")
    automatic = call.params.get("automatic_payment_methods")
    if kinds and automatic:
        message = "You may only specify one of these parameters: automatic_payment_methods, payment_method_types."
        raise invalid(message)
    for kind in kinds:
        if kind != "card":
            raise invalid(f"The payment method type provided: {kind} is invalid.", "payment_method_types")
    redirects = not (isinstance(automatic, dict) and automatic.get("allow_redirects") == "never")
    if confirms and not kinds and redirects and "return_url" not in call.params:
        message = (
            "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some"
            " of these payment methods might redirect your customer off of your page, you must provide a"
            " `return_url`."
        )
        raise invalid(message)
