"""The tasks that pay sellers out, and take back what was paid out too early."""

from collections.abc import Sequence
from uuid import UUID

from db.broker import task_name
from domain.ids import PayoutId, ReversalId
from domain.work import Work
from workers.app import TASK_TIMEOUT_S, app, runtime
from workers.services import Services


@app.task(name=task_name(Work.PAYOUTS))
def pay_out(payout_ids: Sequence[str]) -> None:
    """Transfer the payouts that are due."""
    ids = [PayoutId(UUID(payout_id)) for payout_id in payout_ids]

    async def send(services: Services) -> None:
        if admitted := await services.admission.admit(Work.PAYOUTS, ids):
            await services.payouts.process(admitted)

    runtime.run(send, timeout_s=TASK_TIMEOUT_S)


@app.task(name=task_name(Work.REVERSALS))
def reverse(reversal_ids: Sequence[str]) -> None:
    """Take back of transfers what is due."""
    ids = [ReversalId(UUID(reversal_id)) for reversal_id in reversal_ids]

    async def send(services: Services) -> None:
        if admitted := await services.admission.admit(Work.REVERSALS, ids):
            await services.reversals.process(admitted)

    runtime.run(send, timeout_s=TASK_TIMEOUT_S)
