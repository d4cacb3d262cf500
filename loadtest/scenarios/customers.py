"""Customers under Locust: who they are, how they ask, and that they remember what they were promised."""

import json
import random
import time
from collections import deque
from collections.abc import Mapping
from functools import cache
from os import getpid
from pathlib import Path
from typing import Any, TextIO, cast
from uuid import uuid4

from locust import FastHttpUser, LoadTestShape, events
from locust.env import Environment
from locust.runners import MasterRunner, Runner, WorkerRunner

from loadtest.scenarios.world import World

WORLD = World.read()
CARDS = ("pm_card_visa",) * 8 + ("pm_card_chargeDeclined", "pm_card_chargeDeclinedInsufficientFunds")
OK, CREATED, ACCEPTED, CONFLICT = 200, 201, 202, 409
_FINAL = frozenset({"succeeded", "failed", "canceled"})
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 1.0

rng = random.Random()  # noqa: S311 - what customers choose is nobody's secret


@events.quitting.add_listener  # type: ignore[untyped-decorator]  # Locust has no type for it
def _write_stats(environment: Environment, **_: object) -> None:
    """Write the figures of all processes. With `--json-file` each would write its own over those of the master."""
    if isinstance(environment.runner, MasterRunner):
        Path(WORLD.stats).write_text(json.dumps(environment.runner.stats.serialize_stats()), encoding="utf-8")


class Stages(LoadTestShape):
    """As many users as the scenario's stages say."""

    def tick(self) -> tuple[int, float] | None:
        """Return how many users there should be now."""
        users = WORLD.users_at(self.get_run_time())  # type: ignore[no-untyped-call]  # Locust's
        return None if users is None else (users, float(WORLD.users))


class Customer(FastHttpUser):
    """A buyer of its own, with one connection. An answer of another kind than expected is an error."""

    abstract = True
    connection_timeout = network_timeout = 30.0
    patience_s = 60.0
    """How long a payment may take until it is an error."""

    def on_start(self) -> None:
        """Become a buyer that nobody else is, since a buyer has one cart."""
        assert self.environment.runner is not None  # noqa: S101 - a running user has one
        self._buyers = _buyers(self.environment.runner)
        self._token = self._buyers.popleft()

    def on_stop(self) -> None:
        """Let the next user be this buyer."""
        self._buyers.append(self._token)

    def ask(
        self,
        request: str,
        body: Mapping[str, object] | None = None,
        *,
        expect: int = OK,
        also: int | None = None,
        key: str | None = None,
        **parts: str,
    ) -> Any:
        """Send `METHOD /path/{part}` and return its JSON; None for another status than the expected one."""
        method, path = request.split(" ", 1)
        headers = {"Authorization": f"Bearer {self._token}", **({"Idempotency-Key": key} if key else {})}
        with self.client.request(
            method, path.format(**parts), name=path, json=body, headers=headers, catch_response=True
        ) as answer:
            if answer.status_code == expect:
                return answer.json()
            if answer.status_code == also:
                answer.success()
            else:
                answer.failure(f"{answer.status_code} instead of {expect}: {(answer.text or '')[:200]}")
        return None

    def pay(self, body: Mapping[str, object]) -> str | None:
        """Begin a payment, note the promise, and return its id."""
        key = uuid4().hex
        payment = self.ask("POST /v1/payments", body, expect=ACCEPTED, key=key)
        if payment is None:
            return None
        _promises().write(f"{key} {payment['id']}\n")
        return cast("str", payment["id"])

    def pay_somebody(self) -> str | None:
        """Pay a seller without an order."""
        amount_minor = rng.randint(100, 50_000)
        seller, card = rng.choice(WORLD.sellers), rng.choice(CARDS)
        return self.pay(
            {"seller_id": seller, "amount_minor": amount_minor, "currency": "USD", "payment_method": card}
        )

    def follow(self, payment_id: str) -> str | None:
        """Ask for the outcome, as a page in a browser does, and return it."""
        began, pause_s = time.monotonic(), _FIRST_PAUSE_S
        while time.monotonic() < began + self.patience_s:
            time.sleep(pause_s)  # Locust lets the other users go on meanwhile
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            payment = self.ask("GET /v1/payments/{id}", id=payment_id)
            if payment is not None and payment["status"] in _FINAL:
                return cast("str", payment["status"])
        self._give_up(began)
        return None

    def _give_up(self, began: float) -> None:
        self.environment.events.request.fire(
            request_type="WAIT",
            name="a payment's outcome",
            response_time=1000 * (time.monotonic() - began),
            response_length=0,
            exception=TimeoutError(f"not settled within {self.patience_s:.0f} s"),
        )


class Shopper(Customer):
    """Searches, looks, fills a cart, orders it and pays."""

    abstract = True

    def shop(self) -> str | None:
        """Buy something and return the payment."""
        product = rng.choice(WORLD.products)
        self.ask("GET /v1/products?q=lamp")
        self.ask("GET /v1/products/{id}", id=product)
        self.ask("PUT /v1/cart/items/{id}", {"quantity": rng.randint(1, 3)}, id=product)
        order = self.ask("POST /v1/orders", {}, expect=CREATED, key=uuid4().hex)
        if order is None:
            return None
        return self.pay({"order_id": order["id"], "payment_method": rng.choice(CARDS)})


@cache
def _buyers(runner: Runner) -> deque[str]:
    """Return the buyers of this process: the processes share them evenly, and some are to spare."""
    index = runner.worker_index if isinstance(runner, WorkerRunner) else 0
    return deque(WORLD.buyers[index :: WORLD.processes])


@cache
def _promises() -> TextIO:
    """Open this process's file, written line by line: whatever ends the process, no promise is forgotten."""
    return (Path(WORLD.directory) / f"promises.{getpid()}").open("w", buffering=1, encoding="utf-8")
