"""The task that opens sellers' accounts at Stripe, and reads them again."""

from collections.abc import Sequence
from uuid import UUID

from db.broker import task_name
from domain.ids import UserId
from domain.work import Work
from workers.app import TASK_TIMEOUT_S, app, runtime
from workers.services import Services


@app.task(name=task_name(Work.ONBOARDINGS))
def onboard(seller_ids: Sequence[str]) -> None:
    """Bring the accounts that are due forward."""
    ids = [UserId(UUID(seller_id)) for seller_id in seller_ids]

    async def advance(services: Services) -> None:
        if admitted := await services.admission.admit(Work.ONBOARDINGS, ids):
            await services.onboarding.process(admitted)

    runtime.run(advance, timeout_s=TASK_TIMEOUT_S)
