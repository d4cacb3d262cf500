"""The periodic tasks."""

from workers.app import TASK_TIMEOUT_S, periodic, runtime
from workers.metrics import ROWS_SWEPT
from workers.services import Services


@periodic("marketflow.sweep")
def sweep() -> None:
    """Announce what is due and was forgotten."""

    async def sweep_and_count(services: Services) -> None:
        for work, rows in (await services.sweeper.sweep()).items():
            ROWS_SWEPT.labels(str(work)).inc(rows)

    runtime.run(sweep_and_count, timeout_s=TASK_TIMEOUT_S)


@periodic("marketflow.roll_up")
def roll_up() -> None:
    """Fold finished entries into the stored balances."""
    runtime.run(lambda services: services.ledger.roll_up(), timeout_s=TASK_TIMEOUT_S)


@periodic("marketflow.enforce_order_deadlines")
def enforce_order_deadlines() -> None:
    """Let unpaid orders expire and shipped ones complete, when their time has come."""
    runtime.run(lambda services: services.deadlines.enforce(), timeout_s=TASK_TIMEOUT_S)


@periodic("marketflow.reconcile")
def reconcile() -> None:
    """Make the runs of the nights that have none, and bring the oldest run that is due forward."""

    async def plan_and_work(services: Services) -> None:
        await services.reconciler.plan_nights()
        # One step's calls to Stripe may follow the budget.
        await services.reconciler.work(budget_s=TASK_TIMEOUT_S / 3)

    runtime.run(plan_and_work, timeout_s=TASK_TIMEOUT_S)


@periodic("marketflow.pay_out_available")
def pay_out_available() -> None:
    """Pay out to each seller what has become available, if its time has come."""
    runtime.run(lambda services: services.payout_run.run(), timeout_s=TASK_TIMEOUT_S)


@periodic("marketflow.prune_sessions")
def prune_sessions() -> None:
    """Delete sessions and refresh tokens that expired long ago."""
    runtime.run(lambda services: services.revocations.prune(), timeout_s=TASK_TIMEOUT_S)


@periodic("marketflow.prune_stripe_events")
def prune_stripe_events() -> None:
    """Delete Stripe's events that were handled long ago."""
    runtime.run(lambda services: services.stripe_upkeep.prune(), timeout_s=TASK_TIMEOUT_S)


@periodic("marketflow.prune_deliveries")
def prune_deliveries() -> None:
    """Delete deliveries that are long over."""
    runtime.run(lambda services: services.delivery_upkeep.prune(), timeout_s=TASK_TIMEOUT_S)
