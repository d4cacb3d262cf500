"""The task that charges."""

from collections.abc import Sequence
from uuid import UUID

from db.broker import task_name
from domain.ids import PaymentId
from domain.work import Work
from workers.app import TASK_TIMEOUT_S, app, runtime
from workers.services import Services


@app.task(name=task_name(Work.CHARGES))
def charge(payment_ids: Sequence[str]) -> None:
    """Bring each payment that Stripe may be asked about one step forward."""
    ids = [PaymentId(UUID(payment_id)) for payment_id in payment_ids]

    async def advance(services: Services) -> None:
        if admitted := await services.admission.admit(Work.CHARGES, ids):
            await services.charges.process(admitted)

    runtime.run(advance, timeout_s=TASK_TIMEOUT_S)
