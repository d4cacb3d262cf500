"""Customers: they order and pay, repeat with the same key what got no answer, and remember what was promised."""

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

_CARDS = ("pm_card_visa",) * 8 + ("pm_card_chargeDeclined", "pm_card_chargeDeclinedInsufficientFunds")
_RETRY_FOR_S = 60.0
_BUYERS = 4


@dataclass(slots=True)
class Load:
    """What the customers did; `accepted` maps each key that got a 202 to its payment."""

    api: httpx.AsyncClient
    rng: random.Random
    buyers: list[Mapping[str, str]]
    seller_id: str
    product_id: str
    accepted: dict[str, str] = field(default_factory=dict)
    answers: Counter[int] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    _stopped: bool = False

    @classmethod
    async def open(cls, api: httpx.AsyncClient, rng: random.Random) -> "Load":
        """Register some buyers and a seller with a product."""
        seller_id, seller = await _register(api, "seller")
        buyers = [(await _register(api, "buyer"))[1] for _ in range(_BUYERS)]
        product = {"title": "A thing", "price_minor": 1_234, "currency": "USD", "stock": 1_000_000}
        made = await api.post("/v1/products", json=product, headers=seller)
        made.raise_for_status()
        return cls(api, rng, buyers, seller_id, made.json()["id"])

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
        buyer = self.rng.choice(self.buyers)
        body: dict[str, object] = {"payment_method": payment_method or self.rng.choice(_CARDS)}
        if self.rng.random() < 1 / 3:
            items = {"items": [{"product_id": self.product_id, "quantity": self.rng.randint(1, 3)}]}
            order = await self._insist("/v1/orders", items, buyer)
            if order is None:
                return None
            body["order_id"] = order["id"]
        else:
            body |= {
                "seller_id": self.seller_id,
                "amount_minor": self.rng.randint(100, 50_000),
                "currency": self.rng.choice(["USD", "EUR"]),
            }
        payment = await self._insist("/v1/payments", body, buyer)
        return None if payment is None else str(payment["id"])

    async def _insist(
        self, path: str, body: Mapping[str, object], headers: Mapping[str, str]
    ) -> Mapping[str, object] | None:
        """Send a request under one key until it is answered with success, as a client should."""
        key = str(uuid.uuid4())
        deadline = time.monotonic() + _RETRY_FOR_S
        while time.monotonic() < deadline:
            began = time.monotonic()
            try:
                answer = await self.api.post(path, json=body, headers={**headers, "Idempotency-Key": key})
            except httpx.TransportError as error:
                self.broken[type(error).__name__] += 1
                await asyncio.sleep(0.05)
                continue
            self.answers[answer.status_code] += 1
            if answer.status_code in {httpx.codes.CREATED, httpx.codes.ACCEPTED}:
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                self._remember(key, path, answer)
                return dict(answer.json())
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                self.problems.append(f"{path}: {answer.status_code} {answer.text[:200]}")
                return None
            if answer.headers["Content-Type"] != "application/problem+json":
                self.problems.append(f"{path}: a 503 that is no problem document")
            await asyncio.sleep(0.1)
        self.problems.append(f"{path}: no success within {_RETRY_FOR_S} s")
        return None

    def _remember(self, key: str, path: str, answer: httpx.Response) -> None:
        if path != "/v1/payments":
            return
        payment_id = answer.json()["id"]
        if self.accepted.setdefault(key, payment_id) != payment_id:
            self.problems.append(f"key {key} made two payments")


async def _register(api: httpx.AsyncClient, role: str) -> tuple[str, Mapping[str, str]]:
    credentials = {"email": f"{role}-{uuid.uuid4().hex}@example.com", "password": uuid.uuid4().hex}
    user = await api.post("/v1/users", json={**credentials, "role": role})
    user.raise_for_status()
    token = await api.post("/v1/tokens", json=credentials)
    token.raise_for_status()
    return user.json()["id"], {"Authorization": f"Bearer {token.json()['access_token']}"}
