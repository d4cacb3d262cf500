"""Soak with faults: customers buy and ask for refunds for a long time, while Stripe is slow, fails and repeats."""

from uuid import uuid4

from locust import between, task

from loadtest.scenarios.customers import ACCEPTED, Shopper, Stages, rng

__all__ = ["Regular", "Stages"]

_REFUNDED = 0.2


class Regular(Shopper):
    """Buys; of what was paid some is given back."""

    wait_time = between(0.2, 1.0)

    @task
    def buy(self) -> None:
        """Buy something, wait for the outcome, and sometimes want the money back."""
        payment_id = self.shop()
        if payment_id and self.follow(payment_id) == "succeeded" and rng.random() < _REFUNDED:
            self.ask(
                "POST /v1/payments/{id}/refunds",
                {"reason": "requested_by_customer"},
                expect=ACCEPTED,
                key=uuid4().hex,
                id=payment_id,
            )
