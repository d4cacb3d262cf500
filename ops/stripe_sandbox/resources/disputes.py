"""Disputes (https://docs.stripe.com/api/disputes), opened and decided by the control API or a test card."""

from ops.stripe_sandbox.booking import book, settled_like
from ops.stripe_sandbox.cards import find_card
from ops.stripe_sandbox.errors import invalid, no_such, refused
from ops.stripe_sandbox.expansion import view
from ops.stripe_sandbox.listing import page
from ops.stripe_sandbox.money import DISPUTE_FEE_MINOR
from ops.stripe_sandbox.objects import Obj, Page, View, whole
from ops.stripe_sandbox.params import boolean, check_known, metadata
from ops.stripe_sandbox.sandbox import Call, Sandbox

INQUIRY = ("warning_needs_response", "warning_under_review", "warning_closed")
OPEN = ("needs_response", "under_review")
DECIDED = ("won", "lost")
STATUSES = (*INQUIRY, *OPEN, *DECIDED)
_RESPONSE_S = 9 * 24 * 3600
_UNANSWERED = {"needs_response": "lost", "warning_needs_response": "warning_closed"}
_VERDICTS = {"winning_evidence": "won", "losing_evidence": "lost"}


class DisputeRefusedError(ValueError):
    """The charge cannot be disputed so; the message says why."""


def open_dispute(sandbox: Sandbox, charge: Obj, status: str = "needs_response", reason: str = "fraudulent") -> Obj:
    """Open a dispute over what is left of a charge; the money is withdrawn unless it is an inquiry."""
    amount_minor = charge["amount"] - charge.get("amount_refunded", 0)
    if charge["status"] != "succeeded" or not charge.get("captured") or not amount_minor:
        raise DisputeRefusedError(f"charge {charge['id']} holds no captured money")
    now = int(sandbox.now())
    dispute: Obj = {
        "id": sandbox.new_id("dp"),
        "amount": amount_minor,
        "balance_transactions": [],
        "charge": charge["id"],
        "created": now,
        "currency": charge["currency"],
        "evidence_details": {**_EVIDENCE, "due_by": now + _RESPONSE_S},
        "is_charge_refundable": status in INQUIRY,
        "payment_intent": charge["payment_intent"],
        "reason": reason,
        "status": "warning_needs_response" if status in INQUIRY else "needs_response",
    }
    sandbox.store.charges.put({**charge, "disputed": True})
    sandbox.store.disputes.put(dispute)
    sandbox.emit("charge.dispute.created", "dispute", dispute, None)
    sandbox.schedule(_RESPONSE_S, "end_response_time", dispute["id"])
    if status not in INQUIRY:
        dispute = _withdraw(sandbox, dispute)
    return move_dispute(sandbox, dispute, status)


def move_dispute(sandbox: Sandbox, dispute: Obj, status: str) -> Obj:
    """Bring a dispute to another status, with the money and the events that go with it."""
    old = dispute["status"]
    if status == old:
        return dispute
    if old in (*DECIDED, "warning_closed"):
        raise DisputeRefusedError(f"dispute {dispute['id']} is over: {old}")
    if old not in INQUIRY and status in INQUIRY:
        raise DisputeRefusedError(f"dispute {dispute['id']} is no inquiry any more")
    if old in INQUIRY and status not in INQUIRY:
        dispute = _withdraw(sandbox, dispute)
    dispute = sandbox.store.disputes.put({**dispute, "status": status})
    if status == "won":
        dispute = _reinstate(sandbox, dispute)
    is_over = status in (*DECIDED, "warning_closed")
    event_type = "charge.dispute.closed" if is_over else "charge.dispute.updated"
    sandbox.emit(event_type, "dispute", dispute, None, None if is_over else {"status": old})
    return dispute


def dispute_by_card(sandbox: Sandbox, charge_id: str) -> None:
    """Open the dispute that `pm_card_createDispute` asks for, if it still can be."""
    charge = sandbox.store.charges.get(charge_id)
    if charge is None or not charge.get("captured") or charge["amount"] == charge.get("amount_refunded", 0):
        return
    card = find_card(sandbox.store.cards.get(charge["payment_method"]))
    if card is not None and card.dispute is not None:
        status, reason = card.dispute
        open_dispute(sandbox, charge, status, reason)


def end_response_time(sandbox: Sandbox, dispute_id: str) -> None:
    """Decide a dispute that nobody has answered in time."""
    dispute = sandbox.store.disputes.get(dispute_id)
    if dispute is not None and dispute["status"] in _UNANSWERED:
        late = {**dispute, "evidence_details": {**dispute["evidence_details"], "past_due": True}}
        move_dispute(sandbox, late, _UNANSWERED[dispute["status"]])


def update(call: Call) -> View:
    """Hand evidence in; with `submit` the bank considers it, and the words of Stripe's test mode decide.

    https://docs.stripe.com/testing#evidence
    """
    check_known(call.params, ("evidence", "metadata", "submit", "expand"))
    dispute = _get(call)
    if dispute["status"] in (*DECIDED, "warning_closed"):
        raise refused("This dispute is already closed.", "dispute_already_closed")
    shown = whole("dispute", dispute)
    changed = {**dispute, "metadata": metadata(call.params, shown["metadata"])}
    given = call.params.get("evidence", {})
    if not isinstance(given, dict):
        raise invalid("Invalid object", "evidence")
    check_known(given, shown["evidence"])
    if given:
        changed["evidence"] = {**shown["evidence"], **given}
        changed["evidence_details"] = {**changed["evidence_details"], "has_evidence": True}
    if not boolean(call.params, "submit"):
        call.store.disputes.put(changed)
        call.emit("charge.dispute.updated", "dispute", changed)
        return view(call, "dispute", changed)
    return view(call, "dispute", _submit(call.sandbox, changed))


def close(call: Call) -> View:
    """Accept a dispute: it is lost."""
    check_known(call.params, ("expand",))
    dispute = _get(call)
    if dispute["status"] in (*DECIDED, "warning_closed"):
        raise refused("This dispute is already closed.", "dispute_already_closed")
    status = "warning_closed" if dispute["status"] in INQUIRY else "lost"
    return view(call, "dispute", move_dispute(call.sandbox, dispute, status))


def retrieve(call: Call) -> View:
    """Return a dispute."""
    check_known(call.params, ("expand",))
    return view(call, "dispute", _get(call))


def list_all(call: Call) -> Page:
    """Return a page of disputes, filtered by creation time, charge and intent."""

    def encode(row: Obj) -> str:
        return view(call, "dispute", row, inside="data.").encode()

    return page(call.store.disputes, call.params, call.path, encode, filters=("charge", "payment_intent"))


def _get(call: Call) -> Obj:
    dispute = call.store.disputes.get(call.object_id)
    if dispute is None:
        raise no_such("dispute", call.object_id)
    return dispute


def _submit(sandbox: Sandbox, dispute: Obj) -> Obj:
    details = dispute["evidence_details"]
    submitted = {**details, "submission_count": details["submission_count"] + 1}
    is_inquiry = dispute["status"] in INQUIRY
    dispute = {**dispute, "evidence_details": submitted}
    considered = move_dispute(sandbox, dispute, "warning_under_review" if is_inquiry else "under_review")
    verdict = _VERDICTS.get(dispute.get("evidence", {}).get("uncategorized_text"))
    if verdict is None:
        return sandbox.store.disputes.put(considered)
    return move_dispute(sandbox, considered, "warning_closed" if is_inquiry else verdict)


def _withdraw(sandbox: Sandbox, dispute: Obj) -> Obj:
    withdrawn = "charge.dispute.funds_withdrawn"
    amount_minor = -dispute["amount"]
    return _move_money(
        sandbox, dispute, amount_minor, fee_minor=DISPUTE_FEE_MINOR, category="dispute", event=withdrawn
    )


def _reinstate(sandbox: Sandbox, dispute: Obj) -> Obj:
    # The fee of a dispute is not given back, also when it is won (https://docs.stripe.com/disputes/how-disputes-work).
    reinstated = "charge.dispute.funds_reinstated"
    return _move_money(
        sandbox, dispute, dispute["amount"], fee_minor=0, category="dispute_reversal", event=reinstated
    )


def _move_money(
    sandbox: Sandbox, dispute: Obj, amount_minor: int, *, fee_minor: int, category: str, event: str
) -> Obj:
    charge = sandbox.store.charges.get(dispute["charge"])
    assert charge is not None  # noqa: S101 - a dispute is over a charge
    moved_minor, currency, exchange_rate = settled_like(sandbox, amount_minor, charge)
    transaction_id = book(
        sandbox,
        kind="adjustment",
        source=dispute["id"],
        amount_minor=moved_minor,
        fee_minor=fee_minor,
        currency=currency,
        exchange_rate=exchange_rate,
        category=category,
        description=f"Chargeback {'withdrawal' if amount_minor < 0 else 'reversal'} for {dispute['charge']}",
    )
    transaction = whole("balance_transaction", sandbox.store.balance_transactions.get(transaction_id) or {})
    moved = {**dispute, "balance_transactions": [*dispute["balance_transactions"], transaction]}
    moved["is_charge_refundable"] = False
    sandbox.store.disputes.put(moved)
    sandbox.emit(event, "dispute", moved, None)
    return moved


_EVIDENCE: Obj = {"has_evidence": False, "past_due": False, "submission_count": 0, "enhanced_eligibility": {}}
ROUTES = {
    "/v1/disputes": {"GET": list_all},
    "/v1/disputes/{object_id}": {"GET": retrieve, "POST": update},
    "/v1/disputes/{object_id}/close": {"POST": close},
}
