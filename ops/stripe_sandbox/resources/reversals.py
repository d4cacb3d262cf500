"""Reversals of transfers (https://docs.stripe.com/api/transfer_reversals)."""

from ops.stripe_sandbox.booking import book
from ops.stripe_sandbox.errors import insufficient_balance, no_such, refused
from ops.stripe_sandbox.expansion import view
from ops.stripe_sandbox.listing import page
from ops.stripe_sandbox.money import check_step, written
from ops.stripe_sandbox.objects import Obj, Page, View, whole
from ops.stripe_sandbox.params import check_known, integer, metadata
from ops.stripe_sandbox.sandbox import Call, Sandbox

_CREATE = ("amount", "description", "expand", "metadata", "refund_application_fee")
_SHOWN = 10


def create(call: Call) -> View:
    """Take a transfer back, or a part of it."""
    params = call.params
    check_known(params, _CREATE)
    transfer = _transfer(call)
    left = transfer["amount"] - transfer.get("amount_reversed", 0)
    amount_minor = integer(params, "amount", left, least=0 if left == 0 else 1)
    check_step(amount_minor, transfer["currency"])
    values = metadata(params, {})
    reversal = reverse(call.sandbox, transfer, amount_minor, values, call)
    return view(call, "transfer_reversal", reversal)


def reverse(
    sandbox: Sandbox, transfer: Obj, amount_minor: int, values: dict[str, str], call: Call | None = None
) -> Obj:
    """Take money of a transfer back from its account and return the reversal; ApiError where it cannot be."""
    reversed_minor = transfer.get("amount_reversed", 0) + amount_minor
    _check_reversal(sandbox, transfer, amount_minor)
    reversal: Obj = {
        "id": sandbox.new_id("trr"),
        "amount": amount_minor,
        "created": int(sandbox.now()),
        "currency": transfer["currency"],
        "metadata": values,
        "transfer": transfer["id"],
    }
    _book_reversal(sandbox, transfer, reversal)
    sandbox.store.transfer_reversals.put(reversal)
    earlier = sandbox.store.transfer_reversals.where("transfer", transfer["id"])
    changed = sandbox.store.transfers.put(
        {
            **transfer,
            "amount_reversed": reversed_minor,
            "reversed": reversed_minor == transfer["amount"],
            "reversals": reversals_of(transfer, earlier),
        }
    )
    sandbox.emit("transfer.reversed", "transfer", changed, call)
    return reversal


def retrieve(call: Call) -> View:
    """Return a reversal."""
    check_known(call.params, ("expand",))
    return view(call, "transfer_reversal", _get(call))


def update(call: Call) -> View:
    """Change a reversal's metadata."""
    check_known(call.params, ("metadata", "expand"))
    reversal = _get(call)
    changed = {**reversal, "metadata": metadata(call.params, reversal["metadata"])}
    return view(call, "transfer_reversal", call.store.transfer_reversals.put(changed))


def list_all(call: Call) -> Page:
    """Return a page of a transfer's reversals."""
    transfer = _transfer(call)

    def encode(row: Obj) -> str:
        return view(call, "transfer_reversal", row, inside="data.").encode()

    return page(call.store.transfer_reversals, call.params, call.path, encode, fixed={"transfer": transfer["id"]})


def reversals_of(transfer: Obj, made: list[Obj]) -> Obj:
    """Return the list of reversals inside a transfer; `made` holds all, oldest first."""
    newest = made[: -_SHOWN - 1 : -1]
    return {
        "data": [whole("transfer_reversal", each) for each in newest],
        "has_more": len(made) > len(newest),
        "object": "list",
        "url": f"/v1/transfers/{transfer['id']}/reversals",
    }


def _transfer(call: Call) -> Obj:
    transfer = call.store.transfers.get(call.object_id)
    if transfer is None:
        raise no_such("transfer", call.object_id)
    return transfer


def _get(call: Call) -> Obj:
    reversal = call.store.transfer_reversals.get(call.part_id)
    if reversal is None or reversal["transfer"] != call.object_id:
        raise no_such("transfer reversal", call.part_id)
    return reversal


def _check_reversal(sandbox: Sandbox, transfer: Obj, amount_minor: int) -> None:
    currency = transfer["currency"]
    left = transfer["amount"] - transfer.get("amount_reversed", 0)
    if left == 0:
        raise refused(f"Transfer {transfer['id']} is already fully reversed.")
    if amount_minor > left:
        message = (
            f"Reversal amount ({written(amount_minor, currency)}) is greater than unreversed amount on transfer"
            f" ({written(left, currency)})"
        )
        raise refused(message, param="amount")
    account = sandbox.store.accounts.get(transfer["destination"]) or {}
    # Only where the platform answers for an account's losses may its balance go below zero.
    covers = account["controller"]["losses"]["payments"] == "application"
    available, _ = sandbox.store.books_of(account["id"]).funds.at(sandbox.now())
    if not covers and available.get(currency, 0) < amount_minor:
        raise insufficient_balance()


def _book_reversal(sandbox: Sandbox, transfer: Obj, reversal: Obj) -> None:
    """Book a reversal on both sides; its account gives a payment back."""
    account, currency, amount_minor = transfer["destination"], transfer["currency"], reversal["amount"]
    books = sandbox.store.books_of(account)
    reversal["balance_transaction"] = book(
        sandbox,
        kind="transfer_refund",
        source=reversal["id"],
        amount_minor=amount_minor,
        currency=currency,
        category="transfer_reversal",
        description=f"REFUND FOR TRANSFER ({transfer['id']})",
    )
    refund: Obj = {
        "id": sandbox.new_id("pyr"),
        "amount": amount_minor,
        "charge": transfer["destination_payment"],
        "created": reversal["created"],
        "currency": currency,
        "metadata": {},
        "payment_intent": None,
        "transfer_reversal": reversal["id"],
    }
    refund["balance_transaction"] = book(
        sandbox,
        kind="payment_refund",
        source=refund["id"],
        amount_minor=-amount_minor,
        currency=currency,
        account=account,
        category="refund",
        description="REFUND FOR PAYMENT",
    )
    reversal["destination_payment_refund"] = refund["id"]
    books.refunds.put(refund)
    payment = books.charges.get(transfer["destination_payment"])
    assert payment is not None  # noqa: S101 - made together with the transfer
    refunded_minor = payment.get("amount_refunded", 0) + amount_minor
    is_refunded = refunded_minor == payment["amount"]
    books.charges.put({**payment, "amount_refunded": refunded_minor, "refunded": is_refunded})


ROUTES = {
    "/v1/transfers/{object_id}/reversals": {"POST": create, "GET": list_all},
    "/v1/transfers/{object_id}/reversals/{part_id}": {"GET": retrieve, "POST": update},
}
