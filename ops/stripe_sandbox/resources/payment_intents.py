"""PaymentIntents (https://docs.stripe.com/api/payment_intents)."""

import re

from ops.stripe_sandbox import captures
from ops.stripe_sandbox.cards import UNAUTHENTICATED, find_card
from ops.stripe_sandbox.charging import decline, pay
from ops.stripe_sandbox.errors import invalid, no_such, uncapturable, unexpected_state
from ops.stripe_sandbox.expansion import view
from ops.stripe_sandbox.intents import (
    CAPTURE_METHODS,
    CHANGE,
    CONFIRM,
    CREATE,
    attach_payment_method,
    check_payment_methods,
    new_intent,
    stored_fields,
)
from ops.stripe_sandbox.listing import page
from ops.stripe_sandbox.money import check_amount, check_currency, check_step
from ops.stripe_sandbox.objects import Obj, Page, View
from ops.stripe_sandbox.params import boolean, check_known, choice, integer, metadata, required, text
from ops.stripe_sandbox.sandbox import Call

_CAPTURE = (
    "amount_to_capture",
    "application_fee_amount",
    "expand",
    "final_capture",
    "metadata",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_data",
)
_CANCELLATION_REASONS = ("duplicate", "fraudulent", "requested_by_customer", "abandoned")
_CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
_CANCELABLE = (
    "requires_payment_method",
    "requires_capture",
    "requires_confirmation",
    "requires_action",
    "processing",
)
_SEARCH = re.compile(r"""metadata\[(['"])(?P<key>.+?)\1\]\s*:\s*(['"])(?P<value>.*?)\3""")


def create(call: Call) -> View:
    """Make an intent, and charge it when `confirm` asks for it."""
    params = call.params
    check_known(params, CREATE)
    intent = new_intent(call)
    confirms = boolean(params, "confirm")
    check_payment_methods(call, confirms=confirms)
    if confirms and intent["payment_method"] is None:
        raise _lacks_payment_method(intent)
    call.store.payment_intents.put(intent)
    call.emit("payment_intent.created", "payment_intent", intent)
    if confirms:
        intent = _charge(call, intent)
    return view(call, "payment_intent", intent)


def confirm(call: Call) -> View:
    """Charge an intent."""
    check_known(call.params, CONFIRM)
    intent = _get(call)
    if intent["status"] not in _CONFIRMABLE:
        happened = (
            "has already succeeded" if intent["status"] == "succeeded" else f"has a status of {intent['status']}"
        )
        raise unexpected_state(f"You cannot confirm this PaymentIntent because it {happened}.", intent)
    payment_method = attach_payment_method(call)
    if payment_method is not None:
        intent = {**intent, "payment_method": payment_method}
    if intent["payment_method"] is None:
        raise _lacks_payment_method(intent)
    return view(call, "payment_intent", _charge(call, intent))


def capture(call: Call) -> View:
    """Take the money of an authorized intent, or a part of it; the rest is released."""
    check_known(call.params, _CAPTURE)
    intent = _get(call)
    if intent["status"] != "requires_capture":
        message = (
            f"This PaymentIntent could not be captured because it has a status of {intent['status']}. Only a"
            " PaymentIntent with one of the following statuses may be captured: requires_capture."
        )
        raise unexpected_state(message, intent)
    most = intent["amount_capturable"]
    amount_minor = integer(call.params, "amount_to_capture", most, least=1)
    if amount_minor > most:
        message = f"The amount_to_capture ({amount_minor}) is greater than what can be captured ({most})."
        raise uncapturable(message, "amount_too_large", intent)
    check_step(amount_minor, intent["currency"])
    intent = {**intent, "metadata": metadata(call.params, intent["metadata"])}
    return view(call, "payment_intent", captures.take(call, intent, amount_minor))


def cancel(call: Call) -> View:
    """End an intent that has not succeeded; an authorization is released."""
    check_known(call.params, ("cancellation_reason", "expand"))
    intent = _get(call)
    if intent["status"] not in _CANCELABLE:
        message = (
            f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}. Only a"
            f" PaymentIntent with one of the following statuses may be canceled: {', '.join(_CANCELABLE)}."
        )
        raise unexpected_state(message, intent)
    reason = None
    if "cancellation_reason" in call.params:
        reason = choice(call.params, "cancellation_reason", _CANCELLATION_REASONS, "")
    return view(call, "payment_intent", captures.cancel(call.sandbox, intent, reason, call))


def update(call: Call) -> View:
    """Change an intent's metadata at any time, and what it charges while it has not been confirmed."""
    check_known(call.params, CHANGE)
    intent = _get(call)
    given = call.params.keys() - {"metadata", "expand", "description", "receipt_email", "transfer_group"}
    if given and intent["status"] not in _CONFIRMABLE:
        status = intent["status"]
        message = f"This PaymentIntent's {min(given)} could not be updated because it has a status of {status}."
        raise unexpected_state(message, intent)
    changed = {**intent, "metadata": metadata(call.params, intent["metadata"]), **stored_fields(call)}
    if "capture_method" in call.params:
        changed["capture_method"] = choice(call.params, "capture_method", CAPTURE_METHODS, "automatic")
    if "currency" in call.params:
        changed["currency"] = check_currency(required(call.params, "currency"))
    if "amount" in call.params or "currency" in call.params:
        changed["amount"] = integer(call.params, "amount", intent["amount"], least=1)
        check_amount(changed["amount"], changed["currency"])
    payment_method = attach_payment_method(call)
    if payment_method is not None:
        changed.update(payment_method=payment_method, status="requires_confirmation")
    call.store.payment_intents.put(changed)
    return view(call, "payment_intent", changed)


def retrieve(call: Call) -> View:
    """Return an intent; its client secret may be given, as a browser does."""
    check_known(call.params, ("expand", "client_secret"))
    return view(call, "payment_intent", _get(call))


def list_all(call: Call) -> Page:
    """Return a page of intents, filtered by creation time and customer."""

    def encode(row: Obj) -> str:
        return view(call, "payment_intent", row, inside="data.").encode()

    return page(call.store.payment_intents, call.params, call.path, encode, filters=("customer",))


def search(call: Call) -> Page:
    """Return the newest intents whose metadata has a value (only `metadata['key']:'value'` is understood)."""
    check_known(call.params, ("query", "limit", "page", "expand"))
    query = required(call.params, "query")
    clauses = [(match["key"], match["value"]) for match in _SEARCH.finditer(query)]
    if not clauses:
        raise invalid(f"We were unable to parse your search query: {query}", "query")
    limit = integer(call.params, "limit", 10, least=1, most=100)
    found = []
    for row in reversed(call.store.payment_intents.rows):
        if all(row["metadata"].get(key) == value for key, value in clauses):
            found.append(view(call, "payment_intent", row, inside="data.").encode())
            if len(found) > limit:
                break
    return Page(call.path, found[:limit], len(found) > limit, kind="search_result")


def _get(call: Call) -> Obj:
    intent = call.store.payment_intents.get(call.object_id)
    if intent is None:
        raise no_such("payment_intent", call.object_id, param="intent")
    return intent


def _charge(call: Call, intent: Obj) -> Obj:
    params = call.params
    off_session = params.get("off_session") not in (None, "false")
    return_url = text(params, "return_url")
    if boolean(params, "error_on_requires_action"):
        card = find_card(call.store.cards.get(intent["payment_method"]))
        if card is not None and card.needs_authentication:
            decline(call, intent, UNAUTHENTICATED)
    return pay(call, intent, off_session=off_session, return_url=return_url)


def _lacks_payment_method(intent: Obj) -> Exception:
    message = (
        "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the"
        " PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a"
        " payment method or ConfirmationToken."
    )
    return unexpected_state(message, intent)


ROUTES = {
    "/v1/payment_intents": {"POST": create, "GET": list_all},
    "/v1/payment_intents/search": {"GET": search},
    "/v1/payment_intents/{object_id}": {"GET": retrieve, "POST": update},
    "/v1/payment_intents/{object_id}/confirm": {"POST": confirm},
    "/v1/payment_intents/{object_id}/capture": {"POST": capture},
    "/v1/payment_intents/{object_id}/cancel": {"POST": cancel},
}
