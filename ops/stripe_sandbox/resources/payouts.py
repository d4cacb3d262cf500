"""Payouts to banks (https://docs.stripe.com/api/payouts), made by themselves on a schedule, or by a call."""

from ops.stripe_sandbox.booking import book
from ops.stripe_sandbox.errors import insufficient_balance, no_such, refused
from ops.stripe_sandbox.expansion import view
from ops.stripe_sandbox.listing import page, time_bounds
from ops.stripe_sandbox.money import check_currency, check_step
from ops.stripe_sandbox.objects import Obj, Page, View, whole
from ops.stripe_sandbox.params import check_known, choice, integer, metadata, required, text
from ops.stripe_sandbox.sandbox import Call, Sandbox

_CREATE = (
    "amount",
    "currency",
    "description",
    "destination",
    "expand",
    "metadata",
    "method",
    "source_type",
    "statement_descriptor",
)
UNDER_WAY = ("pending", "in_transit")
_NEXT = {
    "pending": ("in_transit", "paid", "failed", "canceled"),
    "in_transit": ("paid", "failed"),
    # A bank can send back what had looked paid (https://docs.stripe.com/payouts#payout-failures).
    "paid": ("failed",),
}
STATUSES = ("in_transit", "paid", "failed", "canceled")
LISTINGS = ("in_progress", "completed")
_EVENT_TYPES = {"in_transit": "updated", "paid": "paid", "failed": "failed", "canceled": "canceled"}
_FAILURE_CODE = "account_closed"
_FAILURE_MESSAGE = "The bank account has been closed."
_SCHEDULED = "payouts_scheduled"


class PayoutRefusedError(ValueError):
    """The payout cannot be brought to that status; the message says why."""


def create(call: Call) -> View:
    """Send available money to the bank of the account on whose behalf the call is made."""
    params = call.params
    check_known(params, _CREATE)
    required(params, "amount")
    amount_minor = integer(params, "amount", 0, least=1)
    currency = check_currency(required(params, "currency"))
    check_step(amount_minor, currency)
    choice(params, "method", ("standard", "instant"), "standard")
    choice(params, "source_type", ("card",), "card")
    values = metadata(params, {})
    account = call.store.accounts.get(call.account)
    if account is not None and not account.get("payouts_enabled"):
        raise refused("Cannot create payouts: this account has payouts disabled.", "payouts_not_allowed")
    available, _ = call.books.funds.at(call.sandbox.now())
    if available.get(currency, 0) < amount_minor:
        raise insufficient_balance()
    payout = _send(call.sandbox, call.account, amount_minor, currency, is_automatic=False)
    payout = {**payout, "metadata": values}
    for name in ("description", "statement_descriptor"):
        if name in params:
            payout[name] = text(params, name)
    call.books.payouts.put(payout)
    call.emit("payout.created", "payout", payout, account=call.account)
    return view(call, "payout", payout)


def update(call: Call) -> View:
    """Change a payout's metadata."""
    check_known(call.params, ("metadata", "expand"))
    payout = _get(call)
    changed = call.books.payouts.put({**payout, "metadata": metadata(call.params, payout["metadata"])})
    call.emit("payout.updated", "payout", changed, {"metadata": payout["metadata"]}, account=call.account)
    return view(call, "payout", changed)


def cancel(call: Call) -> View:
    """Stop a payout that was made by a call and has not left yet."""
    check_known(call.params, ("expand",))
    payout = _get(call)
    if payout["automatic"] or payout["status"] != "pending":
        raise refused("Payouts can only be canceled while they are pending, and if they are not automatic.")
    return view(call, "payout", move_payout(call.sandbox, call.account, payout, "canceled", call))


def reverse(call: Call) -> View:
    """Take a paid payout back from the bank, which is a payout of its own the other way."""
    check_known(call.params, ("metadata", "expand"))
    payout = _get(call)
    if payout["status"] != "paid" or payout.get("reversed_by") or payout["amount"] < 0:
        raise refused("Only paid payouts that have not been reversed can be reversed.")
    values = metadata(call.params, {})
    back = _send(call.sandbox, call.account, -payout["amount"], payout["currency"], is_automatic=False)
    back = call.books.payouts.put({**back, "metadata": values, "original_payout": payout["id"]})
    call.emit("payout.created", "payout", back, account=call.account)
    changed = call.books.payouts.put({**payout, "reversed_by": back["id"]})
    call.emit("payout.updated", "payout", changed, {"reversed_by": None}, account=call.account)
    return view(call, "payout", back)


def retrieve(call: Call) -> View:
    """Return a payout."""
    check_known(call.params, ("expand",))
    return view(call, "payout", _get(call))


def list_all(call: Call) -> Page:
    """Return a page of payouts, filtered by creation time, arrival date, destination and status."""
    least, most = time_bounds(call.params, "arrival_date")

    def encode(row: Obj) -> str:
        return view(call, "payout", row, inside="data.").encode()

    def arrives_then(row: Obj) -> bool:
        arrival = row["arrival_date"]
        return (least is None or arrival >= least) and (most is None or arrival <= most)

    return page(
        call.books.payouts,
        call.params,
        call.path,
        encode,
        filters=("destination", "status"),
        accept=arrives_then,
        accepted=("arrival_date",),
    )


def move_payout(sandbox: Sandbox, account: str, payout: Obj, status: str, call: Call | None = None) -> Obj:
    """Bring a payout to another status, with the money and the events that go with it."""
    old = payout["status"]
    if status == old:
        return payout
    if status not in _NEXT.get(old, ()):
        raise PayoutRefusedError(f"payout {payout['id']} is {old} and cannot become {status}")
    moved = {**payout, "status": status}
    if status in ("failed", "canceled"):
        moved["failure_balance_transaction"] = book(
            sandbox,
            kind="payout_failure" if status == "failed" else "payout_cancel",
            source=payout["id"],
            amount_minor=payout["amount"],
            currency=payout["currency"],
            account=account,
            category="payout_reversal",
            description="STRIPE PAYOUT FAILURE" if status == "failed" else "STRIPE PAYOUT CANCEL",
        )
    if status == "failed":
        moved |= {"failure_code": _FAILURE_CODE, "failure_message": _FAILURE_MESSAGE}
    sandbox.store.books_of(account).payouts.put(moved)
    previous = {"status": old} if status == "in_transit" else None
    sandbox.emit(f"payout.{_EVENT_TYPES[status]}", "payout", moved, call, previous, account=account)
    return moved


def list_contents(sandbox: Sandbox, account: str, payout: Obj, status: str) -> Obj:
    """Say of an automatic payout whether the list of what is in it is whole."""
    return sandbox.store.books_of(account).payouts.put({**payout, "reconciliation_status": status})


def arrive(sandbox: Sandbox, subject: str) -> None:
    """Let a payout reach the bank, unless it was stopped or has failed meanwhile."""
    account, _, payout_id = subject.rpartition(" ")
    payout = sandbox.store.books_of(account).payouts.get(payout_id)
    if payout is not None and payout["status"] in UNDER_WAY:
        move_payout(sandbox, account, payout, "paid")


def schedule_payouts(sandbox: Sandbox) -> None:
    """Begin to pay the connected accounts out, if that is not under way yet."""
    if sandbox.store.settings.get(_SCHEDULED) is None:
        sandbox.store.settings.put(_SCHEDULED, 1)
        _schedule_next(sandbox)


def pay_all_out(sandbox: Sandbox, _subject: str) -> None:
    """Pay out every account whose payouts are automatic."""
    _schedule_next(sandbox)
    for account in sandbox.store.accounts.rows:
        interval = whole("account", account)["settings"]["payouts"]["schedule"]["interval"]
        if interval != "manual":
            pay_out(sandbox, account)


def pay_out(sandbox: Sandbox, account: Obj) -> list[Obj]:
    """Pay out all that an account has available, and return the payouts: one for each currency."""
    return _pay_out(sandbox, account["id"]) if account.get("payouts_enabled") else []


def pay_platform_out(sandbox: Sandbox) -> list[Obj]:
    """Pay out all that the platform itself has available, and return the payouts: one for each currency."""
    return _pay_out(sandbox, "")


def _pay_out(sandbox: Sandbox, account: str) -> list[Obj]:
    available, _ = sandbox.store.books_of(account).funds.at(sandbox.now())
    return [
        _pay_currency_out(sandbox, account, amount_minor, currency)
        for currency, amount_minor in sorted(available.items())
        if amount_minor > 0
    ]


def find_payout(sandbox: Sandbox, payout_id: str) -> tuple[str, Obj] | None:
    """Return the account and the payout of an id, whosever it is."""
    for account in ("", *(row["id"] for row in sandbox.store.accounts.rows)):
        payout = sandbox.store.books_of(account).payouts.get(payout_id)
        if payout is not None:
            return account, payout
    return None


def _get(call: Call) -> Obj:
    payout = call.books.payouts.get(call.object_id)
    if payout is None:
        raise no_such("payout", call.object_id)
    return payout


def _schedule_next(sandbox: Sandbox) -> None:
    interval_s = sandbox.config.payout_interval_s
    sandbox.schedule(interval_s - sandbox.now() % interval_s, "pay_all_out", "")


def _pay_currency_out(sandbox: Sandbox, account: str, amount_minor: int, currency: str) -> Obj:
    payout = _send(sandbox, account, amount_minor, currency, is_automatic=True)
    books, now = sandbox.store.books_of(account), sandbox.now()
    for row in books.balance_transactions.rows:
        is_held = row["currency"] == currency and row["available_on"] <= now
        if is_held and sandbox.store.paid_out.get(row["id"]) is None:
            sandbox.store.paid_out.put(row["id"], payout["id"])
    books.payouts.put(payout)
    sandbox.emit("payout.created", "payout", payout, account=account)
    return payout


def _send(sandbox: Sandbox, account: str, amount_minor: int, currency: str, *, is_automatic: bool) -> Obj:
    """Book a payout that leaves for the bank and return it; it is not stored yet."""
    payout_id, now = sandbox.new_id("po"), int(sandbox.now())
    owner = sandbox.store.accounts.get(account)
    banks = owner["external_accounts"]["data"] if owner is not None else []
    sandbox.schedule(sandbox.config.payout_arrival_s, "arrive", f"{account} {payout_id}")
    return {
        "id": payout_id,
        "amount": amount_minor,
        "arrival_date": now + sandbox.config.payout_arrival_s,
        "automatic": is_automatic,
        "balance_transaction": book(
            sandbox,
            kind="payout",
            source=payout_id,
            amount_minor=-amount_minor,
            currency=currency,
            account=account,
            description="STRIPE PAYOUT",
        ),
        "created": now,
        "currency": currency,
        "destination": banks[0]["id"] if banks else None,
        "metadata": {},
        "reconciliation_status": "completed" if is_automatic else "not_applicable",
        "status": "pending",
    }


ROUTES = {
    "/v1/payouts": {"POST": create, "GET": list_all},
    "/v1/payouts/{object_id}": {"GET": retrieve, "POST": update},
    "/v1/payouts/{object_id}/cancel": {"POST": cancel},
    "/v1/payouts/{object_id}/reverse": {"POST": reverse},
}
