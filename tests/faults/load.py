"""Customers: they order and pay with the client that programs use, and remember what was promised."""

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import httpx

from api.client import Client, MarketFlowError, Payment, Retry, Unanswered

Answer = TypeVar("Answer")

_CARDS = ("pm_card_visa",) * 8 + ("pm_card_chargeDeclined", "pm_card_chargeDeclinedInsufficientFunds")
_RETRY = Retry(for_s=60.0, base_s=0.05, cap_s=0.2)
_BUYERS = 4
_PROMISES = frozenset({httpx.codes.CREATED, httpx.codes.ACCEPTED})


class Api(httpx.AsyncClient):
    """The connections to the API, which remember what each attempt over them met."""

    def __init__(self, base_url: str) -> None:
        super().__init__(base_url=base_url, timeout=10)
        self.broken: Counter[str] = Counter()
        self.problems: list[str] = []
        self.slowest_s = 0.0
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
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        elif answer.is_error and answer.headers["Content-Type"] != "application/problem+json":
            self.problems.append(f"{request.url.path}: a {answer.status_code} that is no problem document")
        elif answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR:
            self.problems.append(f"{request.url.path}: {answer.text}")
        elif answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            self.refused += 1
            if "Retry-After" not in answer.headers:
                self.problems.append(f"{request.url.path}: a 503 that does not say when to come again")
        return answer


@dataclass(slots=True)
class Load:
    """What the customers did; `accepted` maps each key that got a 202 to its payment."""

    api: Api
    rng: random.Random
    buyers: list[Client]
    seller_id: str
    product_id: str
    accepted: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    _stopped: bool = False

    @classmethod
    async def open(cls, api: Api, rng: random.Random) -> "Load":
        """Register some buyers and a seller with a product."""
        seller, *buyers = (Client("", http=api, retry=_RETRY) for _ in range(1 + _BUYERS))
        seller_id = await _insist(lambda: _register(seller, "seller"))
        for buyer in buyers:
            await _insist(partial(_register, buyer, "buyer"))
        product = await _insist(lambda: seller.products.offer("A thing", 1_234, "USD", stock=1_000_000))
        api.problems = problems = []
        return cls(api, rng, buyers, seller_id, product["id"], problems=problems)

    def stop(self) -> None:
        """Let every customer finish what it began, and begin nothing more."""
        self._stopped = True

    async def customer(self, paced_s: float) -> None:
        """Pay again and again."""
        while not self._stopped:
            await self.pay()
            await asyncio.sleep(paced_s)

    async def pay(self, payment_method: str | None = None) -> str | None:
        """Pay once, directly or for an order; return the payment's id, None when nothing was promised."""
        buyer, key = self.rng.choice(self.buyers), str(uuid.uuid4())
        try:
            payment = await self._pay(buyer, payment_method or self.rng.choice(_CARDS), key)
        except MarketFlowError as error:
            self.problems.append(f"a payment: {error!r}")
            return None
        self.accepted[key] = payment["id"]
        return payment["id"]

    async def _pay(self, buyer: Client, card: str, key: str) -> Payment:
        if self.rng.random() < 1 / 3:
            order = await buyer.orders.place([(self.product_id, self.rng.randint(1, 3))])
            return await buyer.payments.pay(order["id"], card, key=key)
        amount_minor, currency = self.rng.randint(100, 50_000), self.rng.choice(["USD", "EUR"])
        return await buyer.payments.pay_seller(self.seller_id, amount_minor, currency, card, key=key)


async def _insist(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask until there is an answer, also where a process of the last case is just ending; twice does no harm."""
    for _ in range(20):
        try:
            return await ask()
        except Unanswered:
            await asyncio.sleep(0.1)
    return await ask()


async def _register(client: Client, role: str) -> str:
    email, password = f"{role}-{uuid.uuid4().hex}@example.com", uuid.uuid4().hex
    user = await client.users.register(email, password, role)
    await client.log_in(email, password)
    return user["id"]
