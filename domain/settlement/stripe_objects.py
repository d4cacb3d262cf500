"""Stripe's objects as plain JSON, read into ours. The gateway and the webhook inbox share these readings."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from domain.ids import PaymentId
from domain.settlement.model import Intent, IntentStatus, StripeFee

JsonObject = Mapping[str, Any]


def read_event_object(body: str) -> JsonObject:
    """Return the object that an event's JSON tells of.

    Errors: KeyError, ValueError, TypeError for what is no event.
    """
    try:
        found = json.loads(body)["data"]["object"]
    except RecursionError as error:
        raise ValueError("JSON too deep to read") from error
    if not isinstance(found, Mapping):
        raise TypeError("an event tells of an object")
    return found


def read_intent(raw: JsonObject) -> Intent:
    """Read a PaymentIntent; its charge and balance transaction may be expanded, ids, or absent.

    Errors: KeyError, ValueError, TypeError for what is no PaymentIntent.
    """
    charge = raw.get("latest_charge")
    expanded = charge if isinstance(charge, Mapping) else {}
    return Intent(
        intent_id=raw["id"],
        status=IntentStatus(raw["status"]),
        currency=_read_currency(raw),
        received_minor=int(raw.get("amount_received") or 0),
        charge_id=expanded["id"] if expanded else charge,
        client_secret=raw.get("client_secret"),
        failure_code=read_failure_code(raw.get("last_payment_error")),
        fee=_read_fee(expanded.get("balance_transaction")),
    )


def read_payment_id(raw: JsonObject) -> PaymentId | None:
    """Return our payment's id from an object's metadata; None when it is not one of ours."""
    metadata = raw.get("metadata")
    value = metadata.get("payment_id") if isinstance(metadata, Mapping) else None
    try:
        return PaymentId(UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def read_failure_code(error: JsonObject | None) -> str | None:
    """Return the most telling code of an error: the issuer's, unless that only says `generic_decline`.

    docs.stripe.com/declines/codes
    """
    if not isinstance(error, Mapping) or not error:
        return None
    decline_code = error.get("decline_code")
    if decline_code and decline_code != "generic_decline":
        return str(decline_code)
    return str(error.get("code") or error.get("type") or "unknown_error")


def _read_fee(transaction: object) -> StripeFee | None:
    if not isinstance(transaction, Mapping):
        return None
    return StripeFee(
        balance_transaction_id=transaction["id"],
        fee_minor=int(transaction["fee"]),
        currency=_read_currency(transaction),
    )


def _read_currency(raw: JsonObject) -> str:
    """Return a currency as we write it, in capitals."""
    return str(raw["currency"]).upper()
