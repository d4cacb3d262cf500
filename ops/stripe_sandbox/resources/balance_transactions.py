"""Balance transactions (https://docs.stripe.com/api/balance_transactions) and the balance they add up to."""

from collections import defaultdict

from ops.stripe_sandbox.errors import no_such
from ops.stripe_sandbox.expansion import view
from ops.stripe_sandbox.listing import page
from ops.stripe_sandbox.objects import Obj, Page, View
from ops.stripe_sandbox.params import check_known
from ops.stripe_sandbox.sandbox import Call, Sandbox


def as_of_now(sandbox: Sandbox, transaction: Obj) -> Obj:
    """Return a transaction with the status that the clock gives it."""
    if transaction["status"] == "pending" and transaction["available_on"] <= sandbox.now():
        return {**transaction, "status": "available"}
    return transaction


def retrieve(call: Call) -> View:
    """Return a balance transaction."""
    check_known(call.params, ("expand",))
    transaction = call.store.balance_transactions.get(call.object_id)
    if transaction is None:
        raise no_such("balance transaction", call.object_id)
    return view(call.store, "balance_transaction", as_of_now(call.sandbox, transaction), call.params)


def list_all(call: Call) -> Page:
    """Return a page, filtered by creation time, currency, source, type and payout."""

    def encode(row: Obj) -> str:
        shown = as_of_now(call.sandbox, row)
        return view(call.store, "balance_transaction", shown, call.params, inside="data.").encode()

    filters = ("currency", "source", "type", "payout")
    return page(call.store.balance_transactions, call.params, call.path, encode, filters=filters)


def balance(sandbox: Sandbox) -> Obj:
    """Return what is available and what is pending, per currency."""
    now = sandbox.now()
    available: defaultdict[str, int] = defaultdict(int)
    pending: defaultdict[str, int] = defaultdict(int)
    for row in sandbox.store.balance_transactions.rows:
        side = available if row["available_on"] <= now else pending
        side[row["currency"]] += row["net"]
    currencies = sorted({*available, *pending}) or ["usd"]

    def amounts(side: dict[str, int]) -> list[Obj]:
        return [
            {
                "amount": side.get(currency, 0),
                "currency": currency,
                "source_types": {"card": side.get(currency, 0)},
            }
            for currency in currencies
        ]

    reserved = [{"amount": 0, "currency": currency} for currency in currencies]
    return {"available": amounts(available), "connect_reserved": reserved, "pending": amounts(pending)}


def retrieve_balance(call: Call) -> View:
    """Return the platform's balance."""
    check_known(call.params, ("expand",))
    return View("balance", balance(call.sandbox), {})


ROUTES = {
    "/v1/balance": {"GET": retrieve_balance},
    "/v1/balance_transactions": {"GET": list_all},
    "/v1/balance_transactions/{object_id}": {"GET": retrieve},
}
