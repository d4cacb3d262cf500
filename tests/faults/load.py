"""Customers: they order and pay with the client that programs use, and remember what was promised."""

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

import httpx

from api.client import Client, Conflict, MarketFlowError, Payment, Unanswered
from tests.faults.payee import Payee
from tests.faults.sessions import PATIENT, log_in_new

Answer = TypeVar("Answer")

_CARDS = ("pm_card_visa",) * 8 + ("pm_card_chargeDeclined", "pm_card_chargeDeclinedInsufficientFunds")
_BUYERS = 4
_LISTENING = 1 / 8
"""How much of the load is the buyer's who is told of everything."""
_REFUNDED = 1 / 20
"""How often a customer asks for a little money back, counted by its payments."""
_REFUND_MINOR = 50
_CURRENCIES = ("USD", "EUR")
_COLLECT_S = (0.2, 2.0)
"""So long after each other, at random, the seller asks for what is available."""
_RECONCILE_S = (0.5, 8.0)
"""So long after each other, at random, somebody reconciles the last minute."""
_TICK_S = 0.05
_PROMISES = frozenset({httpx.codes.CREATED, httpx.codes.ACCEPTED})


class Api(httpx.AsyncClient):
    """The connections to the API, which remember what each attempt over them met."""

    def __init__(self, base_url: str) -> None:
        super().__init__(base_url=base_url, timeout=10)
        self.broken: Counter[str] = Counter()
        self.problems: list[str] = []
        self.slowest_s = 0.0
        self._promised: list[tuple[float, float]] = []
        """When each promise was made, and how long it took."""
        self._standstills: list[tuple[float, float]] = []
        """When this process went on, and how long it had not run: nobody's answer could come before."""
        self.refused = 0
        """How often a request was told to come again later."""

    async def send(self, request: httpx.Request, **options: object) -> httpx.Response:
        began = time.monotonic()
        try:
            answer = await super().send(request, **options)  # type: ignore[arg-type]  # handed on as they are
        except httpx.TransportError as error:
            self.broken[type(error).__name__] += 1
            raise
        if answer.status_code in _PROMISES:
            now = time.monotonic()
            self.slowest_s = max(self.slowest_s, self._waited_s(now, now - began))
            self._promised.append((now, now - began))
        elif answer.is_error and answer.headers["Content-Type"] != "application/problem+json":
            self.problems.append(f"{request.url.path}: a {answer.status_code} that is no problem document")
        elif answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR:
            self.problems.append(f"{request.url.path}: {answer.text}")
        elif answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            self.refused += 1
            if "Retry-After" not in answer.headers:
                self.problems.append(f"{request.url.path}: a 503 that does not say when to come again")
        return answer

    def forget(self) -> None:
        """Begin anew, for other customers."""
        self.problems, self._promised, self._standstills = [], [], []

    async def note_standstills(self) -> None:
        """Note for ever how long this process stands still, as on a machine that has too much to do."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(_TICK_S)
            now = time.monotonic()
            if now - began > 2 * _TICK_S:
                self._standstills.append((now, now - began - _TICK_S))

    def late_spells(self, since: float, bound_s: float) -> int:
        """Count how often, one time after another, promises took longer; what is late together is late once."""
        spells, over = 0, since
        for at, took_s in self._promised:
            if self._waited_s(at, took_s) > bound_s and at - took_s >= over:
                spells, over = spells + 1, at
        return spells

    def _waited_s(self, at: float, took_s: float) -> float:
        """How long of that time this process could have heard the answer."""
        return took_s - sum(stood_s for end, stood_s in self._standstills if at - took_s <= end <= at + _TICK_S)


@dataclass(slots=True)
class Load:
    """What the customers did; the maps name what each key that got a 202 was promised."""

    api: Api
    rng: random.Random
    buyers: list[Client]
    payee: Payee
    product_id: str
    listener: Client | None = None
    """A buyer like the others, for a smaller part of the load."""
    accepted: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    refunds: dict[str, str] = field(default_factory=dict)
    payouts: dict[str, str] = field(default_factory=dict)
    _ordered: list[tuple[Client, str]] = field(default_factory=list)
    """The payments of orders, which their buyers may ask back; none of these orders is shipped."""
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    async def open(cls, api: Api, rng: random.Random, payee: Payee, listener: Client | None) -> "Load":
        """Register some buyers and a seller with a product; what is paid directly goes to `payee`."""
        seller, *buyers = (Client("", http=api, retry=PATIENT) for _ in range(1 + _BUYERS))
        await _insist(lambda: log_in_new(seller, "seller"))
        for buyer in buyers:
            await _insist(partial(log_in_new, buyer, "buyer"))
        product = await _insist(lambda: seller.products.offer("A thing", 1_234, "USD", stock=1_000_000))
        api.forget()
        return cls(api, rng, buyers, payee, product["id"], listener, problems=api.problems)

    def stop(self) -> None:
        """Let every customer finish what it began, and begin nothing more."""
        self._stopping.set()

    async def customer(self, paced_s: float) -> None:
        """Pay again and again, and now and then ask for a little of it back."""
        while not self._stopping.is_set():
            await self.pay()
            if self._ordered and self.rng.random() < _REFUNDED:
                await self.refund()
            await asyncio.sleep(paced_s)

    async def collector(self) -> None:
        """Ask for what the payee has available, now and then, beside the scheduled runs."""
        while not await self._stopped_within(self.rng.uniform(*_COLLECT_S)):
            key = str(uuid.uuid4())
            try:
                payout = await self.payee.client.payouts.request(self.rng.choice(_CURRENCIES), key=key)
            except Conflict:  # nothing has come in since the last run
                continue
            except MarketFlowError as error:
                self.problems.append(f"a payout: {error!r}")
                continue
            self.payouts[key] = payout["id"]

    async def accountant(self, finance: Client) -> None:
        """Reconcile what has just happened, now and then; where nobody works, one such wish is enough."""
        run_id = None
        while not await self._stopped_within(self.rng.uniform(*_RECONCILE_S)):
            try:
                if run_id is None or await is_reconciled(finance, run_id):
                    run_id = await reconcile(finance, timedelta(minutes=1))
            except MarketFlowError as error:
                self.problems.append(f"a reconciliation: {error!r}")

    async def pay(self, payment_method: str | None = None) -> str | None:
        """Pay once, directly or for an order; return the payment's id, None when nothing was promised."""
        buyer, key = self._buyer(), str(uuid.uuid4())
        try:
            payment = await self._pay(buyer, payment_method or self.rng.choice(_CARDS), key)
        except MarketFlowError as error:
            self.problems.append(f"a payment: {error!r}")
            return None
        self.accepted[key] = payment["id"]
        if payment["order_id"] is not None:
            self._ordered.append((buyer, payment["id"]))
        return payment["id"]

    async def refund(self) -> None:
        """Ask for a little of an earlier payment back; whether it was paid by now, the API knows."""
        (buyer, payment_id), key = self.rng.choice(self._ordered), str(uuid.uuid4())
        try:
            refund = await buyer.payments.refund(payment_id, "a scratch", amount_minor=_REFUND_MINOR, key=key)
        except Conflict:
            return
        except MarketFlowError as error:
            self.problems.append(f"a refund: {error!r}")
            return
        self.refunds[key] = refund["id"]

    async def _pay(self, buyer: Client, card: str, key: str) -> Payment:
        if self.rng.random() < 1 / 3:
            order = await buyer.orders.place([(self.product_id, self.rng.randint(1, 3))])
            return await buyer.payments.pay(order["id"], card, key=key)
        amount_minor, currency = self.rng.randint(100, 50_000), self.rng.choice(_CURRENCIES)
        return await buyer.payments.pay_seller(self.payee.user_id, amount_minor, currency, card, key=key)

    def _buyer(self) -> Client:
        if self.listener is not None and self.rng.random() < _LISTENING:
            return self.listener
        return self.rng.choice(self.buyers)

    async def _stopped_within(self, seconds: float) -> bool:
        """Wait so long, or until the customers stop; tell whether they do."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return self._stopping.is_set()


async def reconcile(finance: Client, span: timedelta) -> str:
    """Ask for the newest span of time, and return the run; the same again is the same run."""
    now = datetime.now(UTC)
    asked = {"from": (now - span).isoformat(), "to": now.isoformat()}
    answer = await finance.request("POST", "/v1/reconciliations", asked, repeatable=True)
    return str(answer["id"])


async def is_reconciled(finance: Client, run_id: str) -> bool:
    """Tell whether a run is over."""
    run = await finance.request("GET", f"/v1/reconciliations/{run_id}")
    return run["status"] not in {"pending", "running"}


async def _insist(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask until there is an answer, also where a process of the last case is just ending; twice does no harm."""
    for _ in range(20):
        try:
            return await ask()
        except Unanswered:
            await asyncio.sleep(0.1)
    return await ask()
