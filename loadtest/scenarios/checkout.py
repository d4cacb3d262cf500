"""Steady checkout: search, look, fill a cart, order it, pay, and come back for the outcome."""

from locust import between, task

from loadtest.scenarios.customers import Shopper, Stages

__all__ = ["Stages", "SteadyShopper"]


class SteadyShopper(Shopper):
    """One of many, in no hurry."""

    wait_time = between(0.1, 0.5)

    @task
    def buy(self) -> None:
        """Buy something and wait until it is paid."""
        if payment_id := self.shop():
            self.follow(payment_id)
