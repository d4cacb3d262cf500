"""Webhook flood: Stripe repeats itself and brings old news under new ids, forgers try, and customers still pay."""

import json
import time
from uuid import uuid4

from locust import between, constant, task

from loadtest.scenarios.customers import OK, WORLD, Customer, Stages, rng
from ops.stripe_sandbox.webhooks import sign

__all__ = ["Payer", "Stages", "Stripe"]

_PATH = "/v1/webhooks/stripe"
_BAD_REQUEST = 400


class Stripe(Customer):
    """Delivers events that are true and known already, as fast as they are taken."""

    weight = 9
    wait_time = constant(0)

    @task(12)
    def bring_old_news(self) -> None:
        """Deliver an event that came before, under an id that did not."""
        event = json.loads(rng.choice(WORLD.events))
        self._deliver("old news", json.dumps({**event, "id": f"evt_{uuid4().hex}"}))

    @task(6)
    def repeat(self) -> None:
        """Deliver an event again."""
        self._deliver("again", rng.choice(WORLD.events))

    @task(1)
    def forge(self) -> None:
        """Deliver an event that Stripe has not signed."""
        self._deliver("forged", rng.choice(WORLD.events), secret="whsec_guessed", expect=_BAD_REQUEST)  # noqa: S106

    def _deliver(self, name: str, body: str, *, secret: str = WORLD.webhook_secret, expect: int = OK) -> None:
        headers = {
            "Stripe-Signature": sign(body.encode(), secret, int(time.time())),
            "Content-Type": "application/json",
        }
        with self.client.request(
            "POST", _PATH, name=f"{_PATH}, {name}", data=body, headers=headers, catch_response=True
        ) as answer:
            if answer.status_code == expect:
                answer.success()
            else:
                answer.failure(f"{answer.status_code} instead of {expect}")


class Payer(Customer):
    """Pays all the while; the flood must not keep it waiting for ever."""

    weight = 1
    wait_time = between(0.1, 0.5)

    @task
    def pay_and_wait(self) -> None:
        """Pay a seller and wait until it is settled."""
        if payment_id := self.pay_somebody():
            self.follow(payment_id)
