"""The task that delivers webhooks."""

from collections.abc import Sequence
from uuid import UUID

from db.broker import task_name
from domain.ids import WebhookEndpointId
from domain.work import Work
from workers.app import TASK_TIMEOUT_S, app, runtime


@app.task(name=task_name(Work.DELIVERIES))
def deliver(endpoint_ids: Sequence[str]) -> None:
    """Begin to send what is due to these endpoints; the sending goes on after the task."""
    ids = [WebhookEndpointId(UUID(endpoint_id)) for endpoint_id in endpoint_ids]
    runtime.run(lambda services: services.deliveries.process(ids), timeout_s=TASK_TIMEOUT_S)
