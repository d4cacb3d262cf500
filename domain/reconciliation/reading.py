"""Stripe's balance transactions as plain JSON, read into lines."""

from collections.abc import Mapping
from datetime import UTC, datetime

from domain.reconciliation.model import StripeLine
from domain.settlement.stripe_objects import JsonObject, read_payment_id


def read_line(raw: JsonObject) -> StripeLine:
    """Read a BalanceTransaction; its source may be expanded, an id, or absent.

    An expanded source tells whose it is: a charge by its metadata, which are those of its intent; a refund and a
    dispute by their charge. Errors: KeyError, ValueError, TypeError for what is no BalanceTransaction.
    """
    source = raw.get("source")
    expanded = source if isinstance(source, Mapping) else {}
    charge = expanded if expanded.get("object") == "charge" else expanded.get("charge")
    return StripeLine(
        id=str(raw["id"]),
        category=str(raw["reporting_category"]),
        source=_id(source),
        amount_minor=int(raw["amount"]),
        fee_minor=int(raw["fee"]),
        currency=str(raw["currency"]).upper(),
        created_at=datetime.fromtimestamp(int(raw["created"]), UTC),
        payment_id=read_payment_id(expanded),
        charge_id=_id(charge),
        intent_id=_id(expanded.get("payment_intent")),
    )


def _id(found: object) -> str | None:
    value = found.get("id") if isinstance(found, Mapping) else found
    return str(value) if value else None
