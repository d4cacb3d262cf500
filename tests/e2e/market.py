"""The running marketplace as its users see it, and the sandbox that plays Stripe."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx

from api.client import NEVER, Client, Request
from ops.stack import StackInfo
from tests.eventually import eventually

PASSWORD = "a long enough password"
Json = dict[str, Any]


def new_key() -> str:
    return uuid4().hex


@dataclass(frozen=True)
class Caller:
    """A user with a token; `id` is empty for the users that the stack is seeded with.

    `client` is what programs use. Here every answer is seen, and none is asked for a second time.
    """

    http: httpx.AsyncClient = field(repr=False)
    token: str = field(repr=False)
    id: str = ""

    @property
    def client(self) -> Client:
        return Client("", bearer=self.token, http=self.http)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self._ask(Request("GET", path, headers=headers))

    async def post(self, path: str, body: object, *, key: str | None = None) -> httpx.Response:
        return await self._ask(Request("POST", path, body, key=key))

    async def put(self, path: str, body: object) -> httpx.Response:
        return await self._ask(Request("PUT", path, body))

    async def _ask(self, request: Request) -> httpx.Response:
        return await Client("", bearer=self.token, http=self.http, retry=NEVER).ask(request)


class Sandbox:
    """Stripe's truth, its cardholders, and its bad days."""

    def __init__(self, http: httpx.AsyncClient, api_key: str) -> None:
        self._http = http
        self._auth = {"Authorization": f"Bearer {api_key}"}

    async def state(self) -> Json:
        answer = await self._http.get("/_sandbox/state")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def order_fault(self, effect: str, match: str = "POST /v1/payment_intents", **more: Any) -> None:
        answer = await self._http.post("/_sandbox/faults", json={"match": match, "effect": effect, **more})
        assert answer.status_code == 201, answer.text

    async def end_faults(self) -> None:
        await self._http.delete("/_sandbox/faults")

    async def intents(self, payment: Json) -> list[Json]:
        intents = (await self.state())["payment_intents"]
        return [intent for intent in intents if intent["metadata"].get("payment_id") == payment["id"]]

    async def charges(self, payment: Json) -> list[Json]:
        ids = {intent["id"] for intent in await self.intents(payment)}
        return [charge for charge in (await self.state())["charges"] if charge["payment_intent"] in ids]

    async def refunds(self, payment: Json) -> list[Json]:
        ids = {charge["id"] for charge in await self.charges(payment)}
        return [refund for refund in (await self.state())["refunds"] if refund["charge"] in ids]

    async def refund_behind_our_back(self, payment: Json, amount_minor: int) -> None:
        """Refund a charge as one does in Stripe's dashboard."""
        (charge,) = await self.charges(payment)
        form = {"charge": charge["id"], "amount": amount_minor}
        answer = await self._http.post("/v1/refunds", data=form, headers=self._auth)
        assert answer.status_code == 200, answer.text

    async def dispute(self, payment: Json, status: str) -> None:
        """Bring the dispute of the payment's charge to a state, and open it if there is none."""
        (charge,) = await self.charges(payment)
        answer = await self._http.post("/_sandbox/disputes", json={"charge": charge["id"], "status": status})
        assert answer.status_code == 200, answer.text

    async def settle_in(self, currency: str, other: str | None, rate: float = 1) -> None:
        """Let Stripe settle one currency in another, at a rate between minor units; None ends it."""
        body = {"from": currency, "to": other, "rate": rate}
        answer = await self._http.post("/_sandbox/exchange_rates", json=body)
        assert answer.status_code == 200, answer.text

    async def open_account(self) -> str:
        """Connect a seller's account; return its id."""
        answer = await self._http.post("/v1/accounts", data={"type": "express"}, headers=self._auth)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    async def pay_out_to_bank(self, account: Json) -> Json:
        """Let Stripe send what an account holds to its bank, and the bank take it."""
        made = await self._http.post(f"/_sandbox/accounts/{account['id']}/payouts")
        (payout,) = made.json()["data"]
        answer = await self._http.post(f"/_sandbox/payouts/{payout['id']}", json={"status": "paid"})
        assert answer.status_code == 200, answer.text
        return dict(payout)

    async def pay_platform_out(self) -> Json:
        """Let Stripe send what the platform itself has in USD to its bank."""
        answer = await self._http.post("/_sandbox/payouts")
        assert answer.status_code == 200, answer.text
        return next(dict(payout) for payout in answer.json()["data"] if payout["currency"] == "usd")

    async def charge_of_nobody(self, amount_minor: int) -> Json:
        """Charge a card as another shop does that uses the account."""
        form = {
            "amount": amount_minor,
            "currency": "usd",
            "payment_method": "pm_card_visa",
            "payment_method_types[]": "card",
            "confirm": "true",
        }
        answer = await self._http.post("/v1/payment_intents", data=form, headers=self._auth)
        assert answer.json()["status"] == "succeeded", answer.text
        return dict(answer.json())

    async def fail_refund(self, payment: Json) -> None:
        """Let the bank send the payment's only refund back."""
        (refund,) = await self.refunds(payment)
        answer = await self._http.post(f"/_sandbox/refunds/{refund['id']}", json={"status": "failed"})
        assert answer.status_code == 200, answer.text

    async def change_account(self, account_id: str, **facts: bool | str) -> None:
        """Let Stripe give a seller abilities, or take them away."""
        answer = await self._http.post(f"/_sandbox/accounts/{account_id}", json=facts)
        assert answer.status_code == 200, answer.text

    async def pass_time(self, seconds: float) -> None:
        """Let Stripe do what it does in that time, and come back to now."""
        for offset_s in (seconds, 0):
            answer = await self._http.post("/_sandbox/clock", json={"offset_s": offset_s})
            assert answer.status_code == 200, answer.text

    async def authenticate(self, payment: Json, *, succeed: bool) -> None:
        (intent,) = await self.intents(payment)
        path = f"/_sandbox/payment_intents/{intent['id']}/authentication"
        answer = await self._http.post(path, json={"succeed": succeed})
        assert answer.status_code == 200, answer.text

    async def charge_behind_our_back(self, payment: Json, *, capture_method: str = "automatic") -> None:
        """Make an intent of the payment, captured or authorized, that turns up after everybody gave it up."""
        form = {
            "capture_method": capture_method,
            "amount": payment["amount_minor"],
            "currency": payment["currency"].lower(),
            "payment_method": "pm_card_visa",
            "payment_method_types[]": "card",
            "confirm": "true",
            "metadata[payment_id]": payment["id"],
        }
        answer = await self._http.post("/v1/payment_intents", data=form, headers=self._auth)
        expected = "succeeded" if capture_method == "automatic" else "requires_capture"
        assert answer.json()["status"] == expected, answer.text

    async def capture(self, payment: Json) -> None:
        (intent,) = await self.intents(payment)
        answer = await self._http.post(f"/v1/payment_intents/{intent['id']}/capture", headers=self._auth)
        assert answer.json()["status"] == "succeeded", answer.text

    async def events(self, payment: Json, kind: str) -> list[Json]:
        answer = await self._http.get("/v1/events", params={"type": kind, "limit": 100}, headers=self._auth)
        objects = [(event, event["data"]["object"]) for event in answer.json()["data"]]
        return [event for event, found in objects if found["metadata"].get("payment_id") == payment["id"]]

    async def redeliver(self, event: Json) -> None:
        answer = await self._http.post(f"/_sandbox/events/{event['id']}/redeliver")
        assert answer.status_code == 202, answer.text

    async def balance_minor(self) -> Counter[str]:
        """What the balance transactions add up to, by currency."""
        balance: Counter[str] = Counter()
        for transaction in (await self.state())["balance_transactions"]:
            balance[transaction["currency"].upper()] += transaction["net"]
        return balance


class Market:
    """A running stack: its users, their orders and payments, and the books."""

    def __init__(self, info: StackInfo, http: httpx.AsyncClient, sandbox: Sandbox) -> None:
        self.info = info
        self.http = http
        self.sandbox = sandbox

    async def log_in(self, role: str) -> Caller:
        """The user of that role that the stack is seeded with."""
        user = self.info.users[role]
        return Caller(self.http, await self._token(user.email, user.password))

    async def register(self, role: str) -> Caller:
        email = f"{role}-{uuid4().hex}@example.com"
        answer = await self.http.post("/v1/users", json={"email": email, "password": PASSWORD, "role": role})
        assert answer.status_code == 201, answer.text
        return Caller(self.http, await self._token(email, PASSWORD), answer.json()["id"])

    async def product(
        self, seller: Caller, price_minor: int = 1999, stock: int = 100_000, currency: str = "USD"
    ) -> Json:
        return dict(await seller.client.products.offer("Walnut desk", price_minor, currency, stock=stock))

    async def order(self, buyer: Caller, *products: Json) -> Json:
        return dict(await buyer.client.orders.place([(product["id"], 1) for product in products]))

    async def pay(self, buyer: Caller, order: Json, **changes: Any) -> Json:
        """Ask for the payment of an order; return the payment as it is accepted."""
        return dict(await buyer.client.payments.pay(order["id"], **{"payment_method": "pm_card_visa", **changes}))

    async def ask_to_pay(
        self, buyer: Caller, order: Json, *, key: str | None = None, **changes: Any
    ) -> httpx.Response:
        body = {"order_id": order["id"], "payment_method": "pm_card_visa", **changes}
        return await buyer.post("/v1/payments", body, key=key or new_key())

    async def given_up(self, buyer: Caller, order: Json, **changes: Any) -> Json:
        """A payment that Stripe did not know when the grace was over."""
        await self.sandbox.order_fault("error_500", count=1)
        return await self.become(buyer, await self.pay(buyer, order, **changes), "failed")

    async def become(self, buyer: Caller, payment: Json, status: str) -> Json:
        """Wait until the payment has that status."""

        async def look() -> Json:
            found = (await buyer.get(f"/v1/payments/{payment['id']}")).json()
            assert found["status"] == status, found
            return found

        return await eventually(look)

    async def stock(self, seller: Caller, product: Json) -> int:
        """What is left, as its seller sees it: others may be told what was so a moment ago."""
        return int((await seller.get(f"/v1/products/{product['id']}")).json()["stock"])

    async def order_status(self, buyer: Caller, order: Json) -> str:
        return str((await buyer.get(f"/v1/orders/{order['id']}")).json()["status"])

    async def journals(self, payment: Json, account: str = "stripe_balance") -> list[Json]:
        """The payment's journals that touch an account, oldest first."""
        finance = await self._finance()
        answer = await finance.get(f"/v1/ledger/accounts/{account}/entries?limit=100")
        found = [journal for journal in answer.json()["data"] if journal["payment_id"] == payment["id"]]
        return found[::-1]

    async def booked(self, payment: Json, *kinds: str) -> list[Json]:
        """Wait until the payment has journals of these kinds and no others; return them in this order."""

        async def look() -> list[Json]:
            journals = {journal["kind"]: journal for journal in await self.journals(payment)}
            assert sorted(journals) == sorted(kinds)
            return [journals[kind] for kind in kinds]

        return await eventually(look)

    async def check_books(self) -> None:
        """Wait until our balance at Stripe is to the cent what Stripe says it is."""

        async def agree() -> bool:
            booked = await self.booked_minor()
            assert +booked == +(await self.sandbox.balance_minor())
            return True

        await eventually(agree)

    async def booked_minor(self) -> Counter[str]:
        """What the ledger says that Stripe holds for us, by currency."""
        balance = (await (await self._finance()).get("/v1/ledger/trial-balance")).json()
        for total in balance["totals"]:
            assert total["debit_minor"] == total["credit_minor"]
        accounts = [row for row in balance["accounts"] if row["account"] == "stripe_balance"]
        return Counter({row["currency"]: row["balance_minor"] for row in accounts})

    async def _finance(self) -> Caller:
        if not hasattr(self, "_finance_caller"):
            self._finance_caller = await self.log_in("finance")
        return self._finance_caller

    async def _token(self, email: str, password: str) -> str:
        answer = await self.http.post("/v1/tokens", json={"email": email, "password": password})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])
