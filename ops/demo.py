"""The demo: customers of a small market pay with every test card, and the books are laid beside Stripe's."""

import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from domain.ledger.model import Account, Balance
from domain.money import major
from ops.cli.ledger import balance_table
from ops.errors import OperatorError
from ops.stack import Stack, StackError, StackInfo, running
from ops.stack.layout import var_dir_of

_SETTLE_TIMEOUT_S = 30
_PREFER_WAIT = {"Prefer": "wait=10"}
_SETTLED = {"succeeded", "failed", "canceled", "requires_action", "requires_capture"}


@dataclass(frozen=True, slots=True)
class Purchase:
    """One customer's payment and how it must end; `fault` is what befalls the call to Stripe."""

    who: str
    payment_method: str
    ends: str
    failure_code: str | None = None
    fault: str | None = None
    authenticates: bool = False


PURCHASES = (
    Purchase("Ann pays with a good card", "pm_card_visa", "succeeded"),
    Purchase("Ben's card is declined", "pm_card_chargeDeclined", "failed", "card_declined"),
    Purchase("Cleo's card lacks funds", "pm_card_chargeDeclinedInsufficientFunds", "failed", "insufficient_funds"),
    Purchase("Dan confirms with 3-D Secure", "pm_card_authenticationRequired", "succeeded", authenticates=True),
    Purchase("Eve's charge loses its answer", "pm_card_visa", "succeeded", fault="drop_after"),
)


@dataclass(slots=True)
class Demo:
    """The market under way; `disagreements` collects whatever is not as it must be."""

    info: StackInfo
    console: Console
    http: httpx.Client
    stripe: httpx.Client
    disagreements: list[str] = field(default_factory=list)

    def play(self) -> None:
        """Let sellers offer, customers buy, and finance look at the books."""
        products = [
            self._offer("desks", "Walnut desk", 19_900),
            self._offer("lamps", "Brass lamp", 4_950),
        ]
        payments = [self._buy(purchase, products) for purchase in PURCHASES]
        self._wait_for_fees()
        self._show_payments(payments)
        self._show_books(payments[0])

    def _offer(self, shop: str, title: str, price_minor: int) -> str:
        seller = self._register(shop, "seller")
        body = {"title": title, "price_minor": price_minor, "currency": "USD", "stock": 1000}
        product = self._post("/v1/products", body, seller)
        self._say(f"{shop}: offers a {title} for {major(price_minor, 'USD')} USD")
        return str(product["id"])

    def _buy(self, purchase: Purchase, products: list[str]) -> dict[str, Any]:
        buyer = self._register(purchase.who.split("'")[0].split(" ")[0].lower(), "buyer")
        items = [{"product_id": product, "quantity": 1} for product in products]
        order = self._post("/v1/orders", {"items": items}, {**buyer, "Idempotency-Key": str(uuid.uuid4())})
        if purchase.fault is not None:
            fault = {"match": "POST /v1/payment_intents", "effect": purchase.fault, "count": 1}
            self.stripe.post("/_sandbox/faults", json=fault).raise_for_status()
        body = {"order_id": order["id"], "payment_method": purchase.payment_method}
        headers = {**buyer, "Idempotency-Key": str(uuid.uuid4())}
        accepted = self._post("/v1/payments", body, headers)
        self._replay(body, headers, accepted)
        payment = self._settled(accepted["id"], buyer)
        if purchase.authenticates:
            payment = self._authenticate(payment, buyer)
        self._check(payment, purchase)
        self._say(f"{purchase.who}: {payment['status']} {payment['failure_code'] or ''}".rstrip())
        order = self._get(f"/v1/orders/{order['id']}", buyer)
        expected = "paid" if purchase.ends == "succeeded" else "pending"
        self._expect(order["status"] == expected, f"order {order['id']} is {order['status']}, not {expected}")
        return {**payment, "who": purchase.who, "order_status": order["status"]}

    def _replay(self, body: Mapping[str, object], headers: Mapping[str, str], accepted: Mapping[str, Any]) -> None:
        """Send the same request again, as a client does whose connection broke."""
        again = self.http.post("/v1/payments", json=body, headers=headers)
        same = again.status_code == httpx.codes.ACCEPTED and again.json()["id"] == accepted["id"]
        replayed = again.headers.get("Idempotent-Replayed") == "true"
        self._expect(same and replayed, f"a repeated request made payment {again.text}")

    def _settled(self, payment_id: str, headers: Mapping[str, str], leaving: str = "") -> dict[str, Any]:
        deadline = time.monotonic() + _SETTLE_TIMEOUT_S
        while True:
            payment = self._get(f"/v1/payments/{payment_id}", {**headers, **_PREFER_WAIT})
            if payment["status"] in _SETTLED - {leaving} or time.monotonic() > deadline:
                return payment
            time.sleep(0.05)

    def _authenticate(self, payment: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
        self._expect(payment["status"] == "requires_action", f"3-D Secure is {payment['status']}")
        intent_id = str(payment["client_secret"]).partition("_secret_")[0]
        control = f"/_sandbox/payment_intents/{intent_id}/authentication"
        self.stripe.post(control, json={"succeed": True}).raise_for_status()
        return self._settled(str(payment["id"]), headers, leaving="requires_action")

    def _check(self, payment: Mapping[str, Any], purchase: Purchase) -> None:
        got = (payment["status"], payment["failure_code"])
        wanted = (purchase.ends, purchase.failure_code)
        self._expect(got == wanted, f"{purchase.who}: {got} instead of {wanted}")

    def _wait_for_fees(self) -> None:
        """Stripe's fees may come a moment after the charges; the books tie when they are there."""
        deadline = time.monotonic() + _SETTLE_TIMEOUT_S
        while self._ledger_at_stripe() != self._stripe_balance() and time.monotonic() < deadline:
            time.sleep(0.1)

    def _show_payments(self, payments: list[dict[str, Any]]) -> None:
        table = Table("customer", "payment", "status", "failure", "order", title="payments")
        for payment in payments:
            table.add_row(
                payment["who"], payment["id"], payment["status"], payment["failure_code"], payment["order_status"]
            )
        self.console.print(table)

    def _show_books(self, payment: Mapping[str, Any]) -> None:
        finance = self._log_in("finance")
        journals = self._get("/v1/ledger/accounts/stripe_balance/entries?limit=100", finance)["data"]
        charge = next(j for j in journals if j["payment_id"] == payment["id"] and j["kind"] == "charge")
        self.console.print(_journal_table(charge))
        trial = self._get("/v1/ledger/trial-balance", finance)
        self.console.print(balance_table([_balance(row) for row in trial["accounts"]]))
        for total in trial["totals"]:
            self._expect(total["debit_minor"] == total["credit_minor"], f"the books do not balance: {total}")
        self._compare_with_stripe()

    def _compare_with_stripe(self) -> None:
        ours, theirs = self._ledger_at_stripe(), self._stripe_balance()
        table = Table("currency", "our ledger", "the sandbox", "", title="stripe_balance, twice")
        for currency in sorted(ours | theirs):
            mine, its = ours.get(currency, 0), theirs.get(currency, 0)
            verdict = "[green]agree[/green]" if mine == its else "[red]differ[/red]"
            table.add_row(currency, major(mine, currency), major(its, currency), verdict)
            self._expect(mine == its, f"{currency}: the ledger has {mine}, the sandbox {its}")
        self.console.print(table)
        state = self.stripe.get("/_sandbox/state").json()
        charged = [c["metadata"].get("payment_id") for c in state["charges"] if c["status"] == "succeeded"]
        self._expect(len(charged) == len(set(charged)), "a payment was charged twice")
        self._say(f"the sandbox has {len(charged)} successful charges, for {len(set(charged))} payments")

    def _ledger_at_stripe(self) -> dict[str, int]:
        accounts = self._get("/v1/ledger/accounts", self._log_in("finance"))["data"]
        return {row["currency"]: row["balance_minor"] for row in accounts if row["account"] == "stripe_balance"}

    def _stripe_balance(self) -> dict[str, int]:
        totals: dict[str, int] = {}
        for transaction in self.stripe.get("/_sandbox/state").json()["balance_transactions"]:
            currency = transaction["currency"].upper()
            totals[currency] = totals.get(currency, 0) + transaction["net"]
        return totals

    def _register(self, name: str, role: str) -> dict[str, str]:
        credentials = {"email": f"{name}-{uuid.uuid4().hex[:8]}@example.com", "password": uuid.uuid4().hex}
        self._post("/v1/users", {**credentials, "role": role}, {})
        return self._token(credentials)

    def _log_in(self, role: str) -> dict[str, str]:
        user = self.info.users[role]
        return self._token({"email": user.email, "password": user.password})

    def _token(self, credentials: Mapping[str, str]) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._post('/v1/tokens', credentials, {})['access_token']}"}

    def _post(self, path: str, body: Mapping[str, object], headers: Mapping[str, str]) -> dict[str, Any]:
        return _answer(self.http.post(path, json=body, headers=headers))

    def _get(self, path: str, headers: Mapping[str, str]) -> dict[str, Any]:
        return _answer(self.http.get(path, headers=headers))

    def _expect(self, holds: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as a sentence
        if not holds:
            self.disagreements.append(otherwise)
            self.console.print(f"[red]{otherwise}[/red]", highlight=False)

    def _say(self, text: str) -> None:
        self.console.print(f"  {text}", highlight=False)


def run(console: Console) -> int:
    """Play the demo on the stack that runs here, or on one of its own; return the exit code."""
    began = time.monotonic()
    with _stack(console) as info:
        if not info.stripe or not info.users:
            raise OperatorError("The demo needs the embedded Stripe sandbox.")
        timeout = httpx.Timeout(30)
        with (
            httpx.Client(base_url=info.api, timeout=timeout) as http,
            httpx.Client(base_url=info.stripe, timeout=timeout) as stripe,
        ):
            demo = Demo(info, console, http, stripe)
            demo.play()
    verdict = "[red]something disagrees[/red]" if demo.disagreements else "[green]everything agrees[/green]"
    console.print(f"{verdict} after {time.monotonic() - began:.0f} s", highlight=False)
    return 1 if demo.disagreements else 0


@contextmanager
def _stack(console: Console) -> Iterator[StackInfo]:
    try:
        info = running.find(var_dir_of(os.environ))
    except StackError:
        with Stack(on_progress=lambda message: console.print(f"[dim]{message}[/dim]")) as stack:
            yield stack.info
    else:
        console.print("[dim]using the stack that runs here; it is left running[/dim]")
        yield info


def _answer(response: httpx.Response) -> dict[str, Any]:
    if response.is_error:
        raise OperatorError(f"{response.request.method} {response.request.url}: {response.text}")
    answer: dict[str, Any] = response.json()
    return answer


def _balance(row: Mapping[str, Any]) -> Balance:
    return Balance(Account(row["account"]), row["currency"], row["balance_minor"])


def _journal_table(journal: Mapping[str, Any]) -> Table:
    table = Table("account", title=f"journal {journal['kind']} {journal['source']}")
    for side in ("debit", "credit"):
        table.add_column(side, justify="right")
    for entry in journal["entries"]:
        amounts = [entry.get(f"{side}_minor") for side in ("debit", "credit")]
        table.add_row(entry["account"], *("" if a is None else major(a, entry["currency"]) for a in amounts))
    return table
