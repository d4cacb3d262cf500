"""Polling storm: clients that ask for their payments again and again, in waves, and seldom make a new one."""

from locust import between, task

from loadtest.scenarios.customers import Customer, Stages

__all__ = ["Impatient", "Stages"]


class Impatient(Customer):
    """Polls what it has; now and then pays again and polls that until it is settled."""

    wait_time = between(0.0, 0.02)
    _payment_id: str | None = None

    @task(40)
    def poll(self) -> None:
        """Ask for the last payment."""
        if self._payment_id is None:
            self.begin()
        else:
            self.ask("GET /v1/payments/{id}", id=self._payment_id)

    @task(4)
    def look_back(self) -> None:
        """Ask for the list of payments."""
        self.ask("GET /v1/payments?limit=20")

    @task(1)
    def begin(self) -> None:
        """Pay, and ask until it is settled."""
        self._payment_id = self.pay_somebody()
        if self._payment_id is not None:
            self.follow(self._payment_id)
