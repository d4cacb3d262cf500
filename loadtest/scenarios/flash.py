"""Flash sale: everybody wants one product of one seller at once, until it is gone."""

from uuid import uuid4

from locust import between, task

from loadtest.scenarios.customers import CONFLICT, CREATED, WORLD, Customer, Stages

__all__ = ["Hunter", "Stages"]


class Hunter(Customer):
    """Orders at once, and looks again whether there is more."""

    wait_time = between(0.0, 0.1)

    @task
    def grab(self) -> None:
        """Order one piece and pay it; that none is left is an answer, no error."""
        (product,) = WORLD.products
        self.ask("GET /v1/products/{id}", id=product)
        items = {"items": [{"product_id": product, "quantity": 1}]}
        order = self.ask("POST /v1/orders", items, expect=CREATED, also=CONFLICT, key=uuid4().hex)
        if order is None:
            return
        if payment_id := self.pay({"order_id": order["id"], "payment_method": "pm_card_visa"}):
            self.follow(payment_id)
