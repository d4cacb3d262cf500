"""Stripe's objects as plain JSON, read into ours. The gateway and the webhook inbox share these readings."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from domain.disputes.model import DisputeStatus
from domain.ids import PaymentId, PayoutId, RefundId, ReversalId, UserId
from domain.payouts.model import PayoutStatus
from domain.refunds.model import RefundStatus
from domain.settlement.answers import (
    BankPayout,
    Intent,
    IntentStatus,
    OwnPayout,
    StripeAccount,
    StripeDispute,
    StripeLink,
    StripeRefund,
    StripeReversal,
    StripeTransaction,
    StripeTransfer,
)
from domain.settlement.refund_metadata import read_lines

JsonObject = Mapping[str, Any]

UNREADABLE = (KeyError, ValueError, TypeError, AttributeError, OverflowError)
"""What the readers raise for an object that is not as Stripe makes it."""

# Of a capture in part Stripe moves the whole authorization in, and by a refund of this category the rest out again
# (docs.stripe.com/reports/reporting-categories).
_PARTIAL_CAPTURE_REVERSAL = "partial_capture_reversal"


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
        transaction=_read_expanded(expanded.get("balance_transaction")),
    )


# `canceled` and `failed` both mean that no money goes back; `requires_action` waits for the customer.
_REFUND_STATUSES = {
    "pending": RefundStatus.PENDING,
    "requires_action": RefundStatus.PENDING,
    "succeeded": RefundStatus.SUCCEEDED,
    "failed": RefundStatus.FAILED,
    "canceled": RefundStatus.FAILED,
}


def read_refund(raw: JsonObject) -> StripeRefund:
    """Read a Refund; its charge and balance transaction may be expanded, ids, or absent.

    Errors: KeyError, ValueError, TypeError for what is no Refund of a charge.
    """
    status = _REFUND_STATUSES[raw["status"]]
    refund_id = _read_own_id(raw, "refund_id")
    charge_id = _read_id(raw["charge"])
    if charge_id is None:
        raise ValueError("a refund of no charge")
    return StripeRefund(
        stripe_refund_id=raw["id"],
        status=status,
        amount_minor=int(raw["amount"]),
        currency=_read_currency(raw),
        charge_id=charge_id,
        intent_id=_read_id(raw.get("payment_intent")),
        refund_id=RefundId(refund_id) if refund_id else None,
        failure_code=str(raw.get("failure_reason") or raw["status"]) if status is RefundStatus.FAILED else None,
        transaction_id=_read_id(raw.get("balance_transaction")),
        failure_transaction_id=_read_id(raw.get("failure_balance_transaction")),
        transaction=_read_expanded(raw.get("balance_transaction")),
        failure_transaction=_read_expanded(raw.get("failure_balance_transaction")),
        lines=read_lines(raw.get("metadata")),
    )


def read_dispute(raw: JsonObject) -> StripeDispute:
    """Read a Dispute, which brings its balance transactions along.

    Errors: KeyError, ValueError, TypeError for what is no Dispute of a charge.
    """
    charge_id = _read_id(raw["charge"])
    if charge_id is None:
        raise ValueError("a dispute of no charge")
    details = raw.get("evidence_details")
    due_by = details.get("due_by") if isinstance(details, Mapping) else None
    return StripeDispute(
        stripe_dispute_id=raw["id"],
        status=DisputeStatus(raw["status"]),
        amount_minor=int(raw["amount"]),
        currency=_read_currency(raw),
        reason=str(raw.get("reason") or "general"),
        charge_id=charge_id,
        opened_at=_read_time(raw["created"]),
        evidence_due_at=_read_time(due_by) if due_by else None,
        intent_id=_read_id(raw.get("payment_intent")),
        transactions=tuple(read_transaction(each) for each in raw.get("balance_transactions") or ()),
    )


def read_account(raw: JsonObject) -> StripeAccount:
    """Read a connected Account. Errors: KeyError, ValueError, TypeError for what is none.

    Stripe refuses transfers to an account without that capability, whatever else it can do
    (docs.stripe.com/connect/account-capabilities#transfers-cross-border).
    """
    if raw["object"] != "account":
        raise ValueError("no account")
    capabilities = raw.get("capabilities") or {}
    seller_id = _read_own_id(raw, "seller_id")
    return StripeAccount(
        stripe_account_id=str(raw["id"]),
        payouts_enabled=raw["payouts_enabled"] is True and capabilities.get("transfers") == "active",
        seller_id=UserId(seller_id) if seller_id else None,
    )


def read_link(raw: JsonObject) -> StripeLink:
    """Read an AccountLink. Errors: KeyError, ValueError, TypeError for what is none."""
    return StripeLink(str(raw["url"]), _read_time(raw["expires_at"]))


def read_transfer(raw: JsonObject) -> StripeTransfer:
    """Read a Transfer. Errors: KeyError, ValueError, TypeError for what is none."""
    payout_id = _read_own_id(raw, "payout_id")
    destination = _read_id(raw["destination"])
    if destination is None:
        raise ValueError("a transfer to nobody")
    return StripeTransfer(
        transfer_id=str(raw["id"]),
        amount_minor=int(raw["amount"]),
        currency=_read_currency(raw),
        destination=destination,
        payout_id=PayoutId(payout_id) if payout_id else None,
    )


def read_reversal(raw: JsonObject) -> StripeReversal:
    """Read a TransferReversal. Errors: KeyError, ValueError, TypeError for what is none."""
    reversal_id = _read_own_id(raw, "reversal_id")
    transfer_id = _read_id(raw["transfer"])
    if transfer_id is None:
        raise ValueError("a reversal of no transfer")
    return StripeReversal(
        stripe_reversal_id=str(raw["id"]),
        transfer_id=transfer_id,
        amount_minor=int(raw["amount"]),
        currency=_read_currency(raw),
        reversal_id=ReversalId(reversal_id) if reversal_id else None,
    )


# What a payout to a bank means for our payouts in it: while it is on its way, they are.
_BANK_STATUSES = {
    "pending": PayoutStatus.IN_TRANSIT,
    "in_transit": PayoutStatus.IN_TRANSIT,
    "paid": PayoutStatus.PAID,
    "failed": PayoutStatus.FAILED,
    "canceled": PayoutStatus.FAILED,
}


def read_bank_payout(raw: JsonObject, movements: Iterable[JsonObject]) -> BankPayout:
    """Read a Payout with its balance transactions, whose sources are expanded.

    A transfer arrived at the seller's account as a payment, and names our payout where it is expanded; what a
    failed payout had not brought to the bank comes as a movement of that payout. Errors: KeyError, ValueError,
    TypeError for what is no Payout.
    """
    status = _BANK_STATUSES[raw["status"]]
    transfers, earlier, named = [], [], []
    for movement in movements:
        source = movement.get("source")
        if movement["type"] == "payment" and isinstance(source, Mapping):
            transfer = source.get("source_transfer")
            transfers.append(_read_id(transfer))
            named.append(_read_own_id(transfer, "payout_id") if isinstance(transfer, Mapping) else None)
        elif movement["type"] in {"payout_failure", "payout_cancel"}:
            earlier.append(_read_id(source))
    return BankPayout(
        stripe_payout_id=str(raw["id"]),
        status=status,
        failure_code=str(raw.get("failure_code") or raw["status"]) if status is PayoutStatus.FAILED else None,
        transfer_ids=tuple(each for each in transfers if each),
        earlier_ids=tuple(each for each in earlier if each and each != raw["id"]),
        payout_ids=tuple(PayoutId(each) for each in named if each),
    )


def read_own_payout(raw: JsonObject) -> OwnPayout:
    """Read a Payout of the platform itself; its balance transactions may be expanded, ids, or absent.

    Errors: KeyError, ValueError, TypeError for what is no Payout.
    """
    if raw["object"] != "payout":
        raise ValueError("no payout")
    return OwnPayout(
        stripe_payout_id=str(raw["id"]),
        transaction=_read_expanded(raw.get("balance_transaction")),
        returned=_read_expanded(raw.get("failure_balance_transaction")),
    )


def read_event_account(body: str) -> str | None:
    """Return the connected account of which an event tells; None where it tells of the platform's own."""
    return _read_id(json.loads(body).get("account"))


def read_transaction(raw: JsonObject) -> StripeTransaction:
    """Read a BalanceTransaction. Errors: KeyError, ValueError, TypeError for what is none."""
    return StripeTransaction(
        id=raw["id"],
        amount_minor=int(raw["amount"]),
        fee_minor=int(raw["fee"]),
        currency=_read_currency(raw),
        exchange_rate=_read_rate(raw.get("exchange_rate")),
        available_on=_read_time(available_on) if (available_on := raw.get("available_on")) else None,
        is_release=raw.get("reporting_category") == _PARTIAL_CAPTURE_REVERSAL,
    )


def read_payment_id(raw: JsonObject) -> PaymentId | None:
    """Return our payment's id from an object's metadata; None when it is not one of ours."""
    payment_id = _read_own_id(raw, "payment_id")
    return PaymentId(payment_id) if payment_id else None


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


def _read_own_id(raw: JsonObject, name: str) -> UUID | None:
    metadata = raw.get("metadata")
    value = metadata.get(name) if isinstance(metadata, Mapping) else None
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _read_id(found: object) -> str | None:
    """Return the id of an object that may be expanded."""
    value = found.get("id") if isinstance(found, Mapping) else found
    return str(value) if value else None


def _read_expanded(transaction: object) -> StripeTransaction | None:
    return read_transaction(transaction) if isinstance(transaction, Mapping) else None


def _read_rate(rate: object) -> Decimal | None:
    """Return a rate as Stripe wrote it: the shortest text of the float that JSON made of it."""
    if rate is None:
        return None
    try:
        read = Decimal(str(rate))
    except InvalidOperation as error:
        raise ValueError("no rate") from error
    if not read.is_finite() or read <= 0:
        raise ValueError("a rate is above zero")
    return read


def _read_time(seconds: Any) -> datetime:
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (OverflowError, OSError) as error:
        raise ValueError("a time out of range") from error


def _read_currency(raw: JsonObject) -> str:
    """Return a currency as we write it, in capitals."""
    return str(raw["currency"]).upper()
