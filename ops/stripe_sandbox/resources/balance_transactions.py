"""Balance transactions (https://docs.stripe.com/api/balance_transactions) and the balance they add up to."""

from ops.stripe_sandbox.booking import as_of_now
from ops.stripe_sandbox.errors import no_such, refused
from ops.stripe_sandbox.expansion import view
from ops.stripe_sandbox.listing import page
from ops.stripe_sandbox.objects import Obj, Page, View
from ops.stripe_sandbox.params import check_known, text
from ops.stripe_sandbox.sandbox import Call, Sandbox


def retrieve(call: Call) -> View:
    """Return a balance transaction."""
    check_known(call.params, ("expand",))
    transaction = call.books.balance_transactions.get(call.object_id)
    if transaction is None:
        raise no_such("balance transaction", call.object_id)
    return view(call, "balance_transaction", as_of_now(call.sandbox, transaction))


def list_all(call: Call) -> Page:
    """Return a page, filtered by creation time, currency, source, type and (automatic) payout."""
    payout = text(call.params, "payout")
    made = call.books.payouts.get(payout) if payout is not None else None
    if made is not None and not made["automatic"]:
        raise refused("Balance transaction history can only be filtered on automatic transfers, not manual.")

    def encode(row: Obj) -> str:
        return view(call, "balance_transaction", as_of_now(call.sandbox, row), inside="data.").encode()

    def is_paid_out(row: Obj) -> bool:
        return bool(call.store.paid_out.get(row["id"]) == payout)

    return page(
        call.books.balance_transactions,
        call.params,
        call.path,
        encode,
        filters=("currency", "source", "type"),
        accept=is_paid_out if payout is not None else None,
        accepted=("payout",),
    )


def balance(sandbox: Sandbox, account: str = "") -> Obj:
    """Return what is available and what is pending in an account, per currency."""
    available, pending = sandbox.store.books_of(account).funds.at(sandbox.now())
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
    """Return the balance of the platform, or of the account on whose behalf the call is made."""
    check_known(call.params, ("expand",))
    return View("balance", balance(call.sandbox, call.account), {})


ROUTES = {
    "/v1/balance": {"GET": retrieve_balance},
    "/v1/balance_transactions": {"GET": list_all},
    "/v1/balance_transactions/{object_id}": {"GET": retrieve},
}
