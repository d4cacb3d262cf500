"""Transfers to connected accounts (https://docs.stripe.com/api/transfers)."""

from ops.stripe_sandbox.booking import book
from ops.stripe_sandbox.errors import insufficient_balance, invalid, no_such, refused
from ops.stripe_sandbox.expansion import view
from ops.stripe_sandbox.listing import page
from ops.stripe_sandbox.money import check_currency, check_step, written
from ops.stripe_sandbox.objects import Obj, Page, View
from ops.stripe_sandbox.params import check_known, choice, integer, metadata, required, text
from ops.stripe_sandbox.resources.reversals import reversals_of
from ops.stripe_sandbox.sandbox import Call, Sandbox

_CREATE = (
    "amount",
    "currency",
    "description",
    "destination",
    "expand",
    "metadata",
    "source_transaction",
    "source_type",
    "transfer_group",
)


def create(call: Call) -> View:
    """Send money of the platform to an account; what is available pays for it, or the charge that is named."""
    params = call.params
    check_known(params, _CREATE)
    required(params, "amount")
    amount_minor = integer(params, "amount", 0, least=1)
    currency = check_currency(required(params, "currency"))
    check_step(amount_minor, currency)
    destination = _destination(call)
    charge = _source(call)
    choice(params, "source_type", ("card",), "card")
    values = metadata(params, {})
    if charge is None:
        _check_available(call, amount_minor, currency)
    else:
        _check_source(call, charge, amount_minor, currency)
    transfer: Obj = {
        "id": call.sandbox.new_id("tr"),
        "amount": amount_minor,
        "created": int(call.sandbox.now()),
        "currency": currency,
        "description": text(params, "description"),
        "destination": destination["id"],
        "metadata": values,
        "source_transaction": charge and charge["id"],
        "transfer_group": _group(call, charge),
    }
    transfer["reversals"] = reversals_of(transfer, [])
    _book_transfer(call.sandbox, transfer, _available_on(call, charge))
    call.store.transfers.put(transfer)
    call.emit("transfer.created", "transfer", transfer)
    return view(call, "transfer", transfer)


def update(call: Call) -> View:
    """Change a transfer's metadata or description."""
    check_known(call.params, ("description", "metadata", "expand"))
    transfer = _get(call)
    changed = {**transfer, "metadata": metadata(call.params, transfer["metadata"])}
    if "description" in call.params:
        changed["description"] = text(call.params, "description")
    call.store.transfers.put(changed)
    call.emit("transfer.updated", "transfer", changed, {"metadata": transfer["metadata"]})
    return view(call, "transfer", changed)


def retrieve(call: Call) -> View:
    """Return a transfer."""
    check_known(call.params, ("expand",))
    return view(call, "transfer", _get(call))


def list_all(call: Call) -> Page:
    """Return a page of transfers, filtered by creation time, destination and transfer group."""

    def encode(row: Obj) -> str:
        return view(call, "transfer", row, inside="data.").encode()

    return page(call.store.transfers, call.params, call.path, encode, filters=("destination", "transfer_group"))


def _get(call: Call) -> Obj:
    transfer = call.store.transfers.get(call.object_id)
    if transfer is None:
        raise no_such("transfer", call.object_id)
    return transfer


def _destination(call: Call) -> Obj:
    account_id = required(call.params, "destination")
    account = call.store.accounts.get(account_id)
    if account is None:
        raise no_such("destination", account_id, param="destination", status=400)
    if account["capabilities"].get("transfers") != "active":
        message = (
            "Your destination account needs to have at least one of the following capabilities enabled: transfers,"
            " crypto_transfers, legacy_payments"
        )
        raise refused(message, "insufficient_capabilities_for_transfer", None)
    return account


def _source(call: Call) -> Obj | None:
    charge_id = text(call.params, "source_transaction")
    if charge_id is None:
        return None
    charge = call.store.charges.get(charge_id)
    if charge is None:
        raise no_such("charge", charge_id, param="source_transaction", status=400)
    return charge


def _check_available(call: Call, amount_minor: int, currency: str) -> None:
    available, _ = call.store.funds.at(call.sandbox.now())
    if available.get(currency, 0) < amount_minor:
        raise insufficient_balance()


def _check_source(call: Call, charge: Obj, amount_minor: int, currency: str) -> None:
    """Hold a transfer against the charge that pays for it, in the currency in which that was settled."""
    if charge["status"] != "succeeded" or not charge.get("captured"):
        message = f"Charge {charge['id']} cannot be used as a source_transaction: it holds no captured money."
        raise refused(message, None, "source_transaction")
    booked = call.store.balance_transactions.get(charge["balance_transaction"] or "")
    held_minor, held_in = (booked["amount"], booked["currency"]) if booked else (None, charge["currency"])
    if currency != held_in:
        message = (
            "The currency of source_transaction's balance transaction"
            f" ({held_in}) must be the same as the transfer currency ({currency})"
        )
        raise refused(message, None, "currency")
    if held_minor is None:
        held_minor = charge["amount_captured"]
    used_minor = sum(each["amount"] for each in call.store.transfers.where("source_transaction", charge["id"]))
    if used_minor + amount_minor > held_minor:
        message = (
            "Transfers using this transaction as a source must not exceed the source amount of"
            f" {written(held_minor, currency)}. (There are already transfers using this source, amounting to"
            f" {written(used_minor, currency)}.)"
        )
        raise refused(message, None, "amount")


def _group(call: Call, charge: Obj | None) -> str | None:
    given = text(call.params, "transfer_group")
    known: str | None = charge.get("transfer_group") if charge is not None else None
    if given is not None and known is not None and given != known:
        message = f"The transfer_group ({given}) must be that of the source_transaction ({known}), or absent."
        raise invalid(message, "transfer_group")
    return given or known


def _available_on(call: Call, charge: Obj | None) -> int | None:
    """Return when the money of a transfer can be used: with the charge that pays for it, else at once."""
    if charge is None:
        return None
    booked = call.store.balance_transactions.get(charge["balance_transaction"] or "")
    late: int = charge["created"] + call.sandbox.config.settlement_delay_s
    available_on: int = booked["available_on"] if booked is not None else late
    return max(available_on, int(call.sandbox.now()))


def _book_transfer(sandbox: Sandbox, transfer: Obj, available_on: int | None) -> None:
    """Book a transfer on both sides; its account gets a payment."""
    amount_minor, currency = transfer["amount"], transfer["currency"]
    payment: Obj = {
        "id": sandbox.new_id("py"),
        "amount": amount_minor,
        "amount_captured": amount_minor,
        "captured": True,
        "created": transfer["created"],
        "currency": currency,
        "metadata": {},
        "paid": True,
        "payment_intent": None,
        "payment_method": None,
        "source_transfer": transfer["id"],
        "status": "succeeded",
        "transfer_group": transfer["transfer_group"],
    }
    transfer["balance_transaction"] = book(
        sandbox,
        kind="transfer",
        source=transfer["id"],
        amount_minor=-amount_minor,
        currency=currency,
        description=transfer["description"],
        available_on=available_on,
    )
    transfer["destination_payment"] = payment["id"]
    account = transfer["destination"]
    payment["balance_transaction"] = book(
        sandbox,
        kind="payment",
        source=payment["id"],
        amount_minor=amount_minor,
        currency=currency,
        account=account,
        category="charge",
        available_on=available_on,
    )
    sandbox.store.books_of(account).charges.put(payment)


ROUTES = {
    "/v1/transfers": {"POST": create, "GET": list_all},
    "/v1/transfers/{object_id}": {"GET": retrieve, "POST": update},
}
