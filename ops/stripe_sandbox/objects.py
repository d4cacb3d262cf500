"""How objects are held and written.

An object is held as a dict of the fields that differ from its kind's template, and is never changed in
place: a change puts a new dict in its table. So events and remembered answers may refer to an object as it
was without copying it, and the constant part of its JSON is written once per kind and not once per call.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import to_json

Obj = dict[str, Any]


def dump(value: object) -> str:
    """Return the JSON of a value, in ASCII."""
    # PERF: the standard library's encoder takes more than twice as long, and writing JSON is most of an answer.
    return to_json(value, ensure_ascii=True).decode("ascii")


# Fixtures show every shape that a field can take; these are the values of a plain card payment. Keys that
# the pinned API version returns only on expansion, or for other payment methods, are left out (`...`).
_CARD_CHECKS = {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"}
_OVERRIDES: dict[str, Obj] = {
    "payment_intent": {
        "automatic_payment_methods": None,
        "canceled_at": None,
        "last_payment_error": None,
        "next_action": None,
        "payment_method_configuration_details": None,
        "processing": None,
        "shipping": None,
        "transfer_data": None,
        "managed_payments": None,
        "payment_method_options": {
            "card": {
                "installments": None,
                "mandate_options": None,
                "network": None,
                "request_three_d_secure": "automatic",
            }
        },
    },
    "charge": {
        "balance_transaction": None,
        "calculated_statement_descriptor": "MARKETFLOW",
        "description": None,
        "outcome": {
            "advice_code": None,
            "network_advice_code": None,
            "network_decline_code": None,
            "network_status": "approved_by_network",
            "reason": None,
            "risk_level": "normal",
            "risk_score": 32,
            "seller_message": "Payment complete.",
            "type": "authorized",
        },
        "receipt_url": None,
        "refunds": ...,
        "shipping": None,
        "source": None,
        "transfer_data": None,
    },
    "balance_transaction": {"description": None},
    "refund": {
        "destination_details": {
            "card": {
                "reference_status": "pending",
                "reference_type": "acquirer_reference_number",
                "type": "refund",
            },
            "type": "card",
        },
    },
    "account": {
        "capabilities": {},
        "controller": {
            "fees": {"payer": "application"},
            "is_controller": True,
            "losses": {"payments": "application"},
            "requirement_collection": "stripe",
            "stripe_dashboard": {"type": "express"},
            "type": "application",
        },
        "email": None,
        "type": "none",
    },
    "account_link": {"object": "account_link"},
    "payout": {"trace_id": None},
    "transfer": {},
    "transfer_reversal": {},
    "payment_method": {"metadata": {}},
    "balance": {},
    "error": {},
}


class Template:
    """The constant fields of one kind of object and the JSON text of them."""

    def __init__(self, defaults: Mapping[str, Any]) -> None:
        self.defaults = dict(defaults)
        self._heads: dict[tuple[str, ...], str] = {}

    def encode(self, fields: Obj, nested: Mapping[str, str]) -> str:
        """Return the whole object's JSON; `nested` holds the text of the fields that are expanded."""
        head = self._heads.get(tuple(fields)) or self._write_head(fields)
        if not nested:
            return head + dump(fields)[1:]
        shown = {name: value for name, value in fields.items() if name not in nested}
        tail = "".join(f',"{name}":{text}' for name, text in nested.items())
        return f"{head}{dump(shown)[1:-1]}{tail}}}"

    def _write_head(self, fields: Obj) -> str:
        constant = {name: value for name, value in self.defaults.items() if name not in fields}
        head = dump(constant)[:-1] + ("," if constant else "")
        self._heads[tuple(fields)] = head
        return head


class View(NamedTuple):
    """An object as one answer shows it: its fields at that time and those that are expanded."""

    kind: str
    fields: Obj
    expanded: dict[str, "View"]

    def encode(self) -> str:
        """Return the JSON text."""
        nested = {name: view.encode() for name, view in self.expanded.items()} if self.expanded else {}
        text = TEMPLATES[self.kind].encode(self.fields, nested)
        return f'{{"error":{text}}}' if self.kind == "error" else text


class Page(NamedTuple):
    """One page of a list."""

    url: str
    items: list[str]
    has_more: bool
    kind: str = "list"

    def encode(self) -> str:
        """Return the JSON text."""
        more = "true" if self.has_more else "false"
        data = ",".join(self.items)
        extra = ',"next_page":null' if self.kind == "search_result" else ""
        return f'{{"object":"{self.kind}","url":"{self.url}","has_more":{more}{extra},"data":[{data}]}}'


def whole(kind: str, fields: Obj) -> Obj:
    """Return an object with its constant fields, for use inside another one."""
    return {**TEMPLATES[kind].defaults, **fields}


def _load_templates() -> dict[str, Template]:
    fixtures = json.loads(Path(__file__).with_name("fixtures.json").read_text())
    templates = {}
    for kind, overrides in _OVERRIDES.items():
        merged = {**fixtures.get(kind, {}), **overrides}
        templates[kind] = Template({name: value for name, value in merged.items() if value is not ...})
    templates["charge"].defaults["payment_method_details"] = _plain_card(fixtures["charge"])
    templates["dispute"] = Template(fixtures["dispute"])
    return templates


def _plain_card(charge: Obj) -> Obj:
    """Return the card details of a charge without the wallet, instalments and limits of the fixture."""
    details: Obj = charge["payment_method_details"]
    absent = {"installments": None, "wallet": None, "three_d_secure": None, "network_token": {"used": False}}
    overcapture = {"maximum_amount_capturable": None, "status": "unavailable"}
    return {**details, "card": {**details["card"], **absent, "overcapture": overcapture}}


TEMPLATES = _load_templates()
