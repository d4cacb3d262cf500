"""The task that processes Stripe's webhooks."""

from collections.abc import Sequence

from db.broker import task_name
from domain.work import Work
from workers.app import TASK_TIMEOUT_S, app, runtime


@app.task(name=task_name(Work.STRIPE_EVENTS))
def process(event_ids: Sequence[str]) -> None:
    """Settle what stored events report."""
    runtime.run(lambda services: services.stripe_events.process(event_ids), timeout_s=TASK_TIMEOUT_S)
