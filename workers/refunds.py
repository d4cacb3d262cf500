"""The task that refunds."""

from collections.abc import Sequence
from uuid import UUID

from db.broker import task_name
from domain.ids import RefundId
from domain.work import Work
from workers.app import TASK_TIMEOUT_S, app, runtime
from workers.services import Services


@app.task(name=task_name(Work.REFUNDS))
def refund(refund_ids: Sequence[str]) -> None:
    """Send the refunds that are due."""
    ids = [RefundId(UUID(refund_id)) for refund_id in refund_ids]

    async def send(services: Services) -> None:
        if admitted := await services.admission.admit(Work.REFUNDS, ids):
            await services.refunds.process(admitted)

    runtime.run(send, timeout_s=TASK_TIMEOUT_S)
